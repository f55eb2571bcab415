"""Weights files: one stage each, what each stage needs from others, and which are released."""
