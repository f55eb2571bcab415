"""Inference with trained nets: no training code, no Lightning, no Hydra."""
