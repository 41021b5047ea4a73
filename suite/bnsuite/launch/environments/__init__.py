"""The places where a worker can be started: this interpreter, another one, a release of torch, an image.

A place is a `Site`. It is written ``.``, ``python:PATH``, ``torch==X.Y.Z`` or ``docker:IMAGE``; `parse` reads that.
"""

from bnsuite.launch.environments.interpreter import Here, Interpreter
from bnsuite.launch.environments.parse import parse
from bnsuite.launch.environments.site import OLDEST_TORCH, Link, Site, Start

__all__ = ["OLDEST_TORCH", "Here", "Interpreter", "Link", "Site", "Start", "parse"]
