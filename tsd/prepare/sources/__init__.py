"""One small file per corpus: where its videos lie, who is in them, what is said. All yield ``Recording``."""
