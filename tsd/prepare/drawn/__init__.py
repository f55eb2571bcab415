"""The drawn corpus: people drawn by a program who say synthesised sentences."""
