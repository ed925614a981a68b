"""What became of a run's attempts, and what follows."""
