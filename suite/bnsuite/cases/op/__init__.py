"""Families ``op`` and ``relation``: one call of a normalization layer, timed; and two of them against one another."""

from bnsuite.cases.op import matrix, relation
from bnsuite.cases.op.case import OpCase
from bnsuite.cases.op.relation import RelationCase

CASES = matrix.CASES
RELATIONS = relation.CASES

__all__ = ["CASES", "RELATIONS", "OpCase", "RelationCase"]
