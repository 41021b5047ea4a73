"""The cases: frozen values with readable ids, and builders that return a zero-argument step.

Nothing here imports torch until a case is built, so the catalogue can be listed at once. A file of a user's own cases
finds here what it needs: it subclasses :class:`Case` for a timed step, makes a :class:`LayerCase` or a
:class:`TrainCase`, or wraps a function of a :class:`Subject` that yields :class:`Observation` in a
:class:`NumericsCase` or :class:`BehaviourCase`.
"""

from bnsuite.cases import implementation, networks
from bnsuite.cases.case import Case, Step
from bnsuite.cases.catalogue import all_cases, profile
from bnsuite.cases.checks.case import (
    BehaviourCase,
    CheckCase,
    CheckNotApplicableError,
    NumericsCase,
    Observation,
    Subject,
)
from bnsuite.cases.data import DataError
from bnsuite.cases.execution import TimedBy
from bnsuite.cases.op.case import LayerCase
from bnsuite.cases.op.ratio import RatioCase
from bnsuite.cases.train.case import TrainCase, TrainingCase
from bnsuite.cases.train.optimizers import Adam, Sgd
from bnsuite.cases.train.training import Training
from bnsuite.cases.user_files import CatalogueError

__all__ = [
    "Adam",
    "BehaviourCase",
    "Case",
    "CatalogueError",
    "CheckCase",
    "CheckNotApplicableError",
    "DataError",
    "LayerCase",
    "NumericsCase",
    "Observation",
    "RatioCase",
    "Sgd",
    "Step",
    "Subject",
    "TimedBy",
    "TrainCase",
    "Training",
    "TrainingCase",
    "all_cases",
    "implementation",
    "networks",
    "profile",
]
