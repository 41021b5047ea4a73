"""The command line: one module per verb, each with a click command that returns the exit status.

Only here is anything printed, and only here is a parser known.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; importing the verbs can be interrupted too."""
    from bnsuite.launch.process import interrupts

    interrupts.exit_immediately()
    from bnsuite.cli import command

    return command.main(argv)
