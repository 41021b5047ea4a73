"""What the numbers mean: statistics, gates and verdicts. A run and a reference in, findings out."""
