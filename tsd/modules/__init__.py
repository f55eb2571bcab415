"""LightningModules: one per stage. How a net is trained, and nothing of files, pictures or metrics."""
