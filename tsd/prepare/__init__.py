"""Data made or made ready before training: corpus, tracks, visemes, latents."""
