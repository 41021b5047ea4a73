"""Folders for what measured processes need and leave."""

from __future__ import annotations

import tempfile

from bnsuite.launch.process import interrupts


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A new folder below TMPDIR that goes with this object, with all that is in it, whatever interrupts its owner."""
    with interrupts.deferred():
        return tempfile.TemporaryDirectory(prefix="bnsuite-", ignore_cleanup_errors=True)
