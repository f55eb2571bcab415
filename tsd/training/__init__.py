"""One training run: its record, how it resumes, callbacks, loggers, optimisers, configuration checks."""
