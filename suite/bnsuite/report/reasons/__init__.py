"""Reasons in words: a table from a reason's code to a function of its data, by subject."""

from bnsuite.report.reasons.table import kernels_too, sentence, words
from bnsuite.report.reasons.times import blind

__all__ = ["blind", "kernels_too", "sentence", "words"]
