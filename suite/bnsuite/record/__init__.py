"""What was measured: the run's schema, its machine key, and how runs and baselines are read and written."""
