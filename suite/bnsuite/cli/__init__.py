"""The command line: a module a verb, each with its options and a function that returns the exit status.

Only here is anything printed.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``bnsuite``: run one verb and return the exit status. Importing the verbs can be interrupted too."""
    from bnsuite.launch.process import interrupts

    interrupts.exit_immediately()
    from bnsuite.cli import command

    return command.main(argv)
