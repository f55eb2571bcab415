"""Command lines, one file each. The only place that knows Hydra."""
