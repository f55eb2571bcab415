"""Measuring trained chains and folders of videos, and writing what was measured."""
