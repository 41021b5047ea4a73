"""The records of measurements: the schema of a run, its machine key, and runs and baselines on disk."""
