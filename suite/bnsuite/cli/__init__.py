"""The command line: a module a verb, each with its options and a function that returns the exit status.

Only here is anything printed.
"""

from bnsuite.cli.command import main

__all__ = ["main"]
