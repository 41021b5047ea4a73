"""The revision of bnsuite that measures."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import bnsuite


def revision() -> str | None:
    """Returns the git revision: as the image records it, else of the checkout this package runs from, else None."""
    recorded = os.environ.get("BNSUITE_REVISION")
    if recorded:
        return recorded
    checkout = Path(bnsuite.__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
