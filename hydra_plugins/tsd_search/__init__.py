"""Sweepers that Hydra finds by themselves."""
