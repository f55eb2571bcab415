"""Networks. nn.Module only: no training, no files, no configuration."""
