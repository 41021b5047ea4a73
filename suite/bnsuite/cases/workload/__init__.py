"""Workloads of a user's own: a module with example inputs, or a step, named as ``FILE.py:NAME``.

What a file holds is read from its source, so that listing its cases imports nothing of the user's.
"""

from bnsuite.cases.workload.declared import VARIABLE, Workload, declared, declared_or_broken
from bnsuite.cases.workload.families import cases_of

__all__ = ["VARIABLE", "Workload", "cases_of", "declared", "declared_or_broken"]
