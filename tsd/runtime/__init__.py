"""Trained nets at work: no training, no Lightning, no Hydra."""
