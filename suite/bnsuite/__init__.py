"""bnsuite: a benchmark and regression suite for batch normalization."""

__version__ = "0.2.0"
