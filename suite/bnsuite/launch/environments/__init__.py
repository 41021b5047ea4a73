"""Environments: this interpreter, another one, a release of torch, an image.

They are written ``.``, ``python:PATH``, ``torch==X.Y.Z`` or ``docker:IMAGE``; `parse` reads that.
"""

from bnsuite.launch.environments.environment import (
    MIN_TORCH,
    Environment,
    EnvironmentUnavailableError,
    Notify,
    WorkerProcess,
)
from bnsuite.launch.environments.interpreter import Here, Interpreter
from bnsuite.launch.environments.parse import parse

__all__ = [
    "MIN_TORCH",
    "Environment",
    "EnvironmentUnavailableError",
    "Here",
    "Interpreter",
    "Notify",
    "WorkerProcess",
    "parse",
]
