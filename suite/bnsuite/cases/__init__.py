"""What is measured: frozen case values with readable ids, and builders that return a zero-argument step.

Nothing here imports torch until a case is built, so the catalogue can be listed at once.
"""

from bnsuite.cases import implementation
from bnsuite.cases.case import Case, Step
from bnsuite.cases.catalogue import CATALOGUE, by_id, profile
from bnsuite.cases.checks import CannotLookError, CheckCase, Subject
from bnsuite.cases.op import RatioCase
from bnsuite.cases.train import TrainCase, Training

__all__ = [
    "CATALOGUE",
    "CannotLookError",
    "Case",
    "CheckCase",
    "RatioCase",
    "Step",
    "Subject",
    "TrainCase",
    "Training",
    "by_id",
    "implementation",
    "profile",
]
