"""Scratch folders: what measured processes need and leave, removed in the end by their owner or by a later command."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from pathlib import Path

from bnsuite.launch.process import interrupts, owner
from bnsuite.record.errors import InputError

#: With less room neither the logs nor the temporary files of a measured process can be written.
MIN_ROOM_BYTES = 256 << 10

HINT = "free some space, or set TMPDIR to another folder"


class ScratchError(InputError):
    """The scratch folder cannot take what measured processes need; the message has cause and fix."""


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Returns a new folder below TMPDIR, removed with this object even if its owner is interrupted.

    Folders of coordinators that were killed are removed first. Raises ScratchError if there is no room for another.
    """
    parent = Path(tempfile.gettempdir())
    prefix = f"bnsuite-{owner.host_digest()}-"
    _sweep(parent, prefix)
    if (room := room_bytes(parent)) < MIN_ROOM_BYTES:
        raise ScratchError(f"{parent}: has only {room >> 10} KiB left for measured processes; {HINT}")
    try:
        with interrupts.deferred():
            return tempfile.TemporaryDirectory(prefix=f"{prefix}{owner.this_process()}-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ScratchError(f"{parent}: cannot be written to: {error.strerror}; {HINT}") from error


def room_bytes(folder: Path) -> int:
    """Returns how much can still be written into `folder`; a large number where that cannot be found out."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 1 << 62


def _sweep(parent: Path, prefix: str) -> None:
    """Removes the scratch folders of this host whose coordinator is dead."""
    with contextlib.suppress(OSError):
        for path in parent.glob(f"{prefix}*"):
            process = re.match(r"\d+-\d+", path.name.removeprefix(prefix))
            if process is not None and owner.is_dead(process[0]):
                shutil.rmtree(path, ignore_errors=True)  # refuses a link, and what is another user's stays
