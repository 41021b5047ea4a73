"""Families ``op`` and ``ratio``: one call of a normalization layer, timed; and the ratio of two such times."""

from bnsuite.cases.op import matrix, ratio
from bnsuite.cases.op.case import LayerCase
from bnsuite.cases.op.ratio import RatioCase

CASES = matrix.CASES
RATIOS = ratio.CASES

__all__ = ["CASES", "RATIOS", "LayerCase", "RatioCase"]
