"""bnsuite: a benchmark and regression suite for batch normalization."""

__version__ = "0.3.0"
