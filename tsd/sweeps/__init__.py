"""Many trainings at once: a folder per job, a search that remembers, and a table of what came out."""
