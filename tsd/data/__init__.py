"""From manifests to batches: one DataModule for every stage."""
