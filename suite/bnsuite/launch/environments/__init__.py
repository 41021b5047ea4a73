"""The places where a worker can be started: this interpreter, another one, a release of torch, an image.

An `Environment` is written ``.``, ``python:PATH``, ``torch==X.Y.Z`` or ``docker:IMAGE``; `parse` reads that.
"""

from bnsuite.launch.environments.environment import MIN_TORCH, Environment, WorkerOptions, WorkerProcess
from bnsuite.launch.environments.interpreter import Here, Interpreter
from bnsuite.launch.environments.parse import parse

__all__ = ["MIN_TORCH", "Environment", "Here", "Interpreter", "WorkerOptions", "WorkerProcess", "parse"]
