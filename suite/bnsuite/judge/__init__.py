"""The meaning of the numbers: statistics, gates and verdicts. A run and a reference in, findings out."""
