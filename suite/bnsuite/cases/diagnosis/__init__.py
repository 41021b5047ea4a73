"""The diagnosis of an implementation: which other formula its results are those of.

A few tiny steps of the layer are compared with closed forms in float64: batch norm, and the mistakes that are common.
A layer that agrees with batch norm has no deviations. It takes a fraction of a second, and runs with ``--impl`` alone.
"""

from bnsuite.cases.diagnosis.deviation import Deviation, Diagnosis
from bnsuite.cases.diagnosis.diagnose import diagnose

__all__ = ["Deviation", "Diagnosis", "diagnose"]
