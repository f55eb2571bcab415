"""The strengths of a student's few steps, searched on validation clips and stored with its weights."""
