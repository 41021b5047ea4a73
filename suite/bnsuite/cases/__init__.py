"""What is measured: frozen case values with readable ids, and builders that return a zero-argument step.

Nothing here imports torch until a case is built, so the catalogue can be listed at once.
"""

from bnsuite.cases.case import Case, Step
from bnsuite.cases.catalogue import CATALOGUE, by_id, profile
from bnsuite.cases.train import TrainCase, Training

__all__ = ["CATALOGUE", "Case", "Step", "TrainCase", "Training", "by_id", "profile"]
