"""The words for what of the user's stood in for torch's own."""

from __future__ import annotations

from bnsuite.record.functions import ROLES
from bnsuite.record.schema import RunOptions


def replaced(options: RunOptions) -> str:
    """Returns text such as "mine.py:Layer in the place of torch's batch norm"; empty for torch's own alone."""
    pairs = [(options.implementation, "torch's batch norm")]
    pairs += [(name, ROLES[role].replaces) for role, name in options.functions.items()]
    return ", ".join(f"{name} in the place of {what}" for name, what in pairs if name)
