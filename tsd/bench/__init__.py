"""What things cost: counted and timed."""
