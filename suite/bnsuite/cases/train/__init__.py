"""Family ``train``: whole trainings, timed by the epoch and followed by their losses."""

from bnsuite.cases.train.case import TrainCase
from bnsuite.cases.train.optimizers import Adam, KerasAdam, Sgd
from bnsuite.cases.train.training import Training
from bnsuite.cases.train.workloads import CASES

__all__ = ["CASES", "Adam", "KerasAdam", "Sgd", "TrainCase", "Training"]
