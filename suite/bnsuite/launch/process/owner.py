"""Names of processes by which a later command finds out that a coordinator is dead, and may remove what it left."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def host() -> str:
    """Returns this boot of this machine and its process ids' name space: a container has other ids than its host."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"


def host_digest() -> str:
    """Returns the same, short enough for the name of a file."""
    return hashlib.sha256(host().encode()).hexdigest()[:12]


def this_process() -> str:
    """Returns the id of this process and its start: an id is given again, the two together are not."""
    return f"{os.getpid()}-{_started(os.getpid())}"


def is_dead(process: str) -> bool:
    """Returns True if a process of this host, as `this_process` names it, is gone; False for any other text."""
    pid, _, started = process.partition("-")
    if not pid.isdigit():
        return False
    now = _started(int(pid))
    if now is not None:
        return now != started
    try:
        os.kill(int(pid), 0)
    except OSError as error:  # another user's process may be alive though /proc hides it
        return isinstance(error, ProcessLookupError)
    return False


def _started(pid: int) -> str | None:
    """Returns the start of a process in ticks since the machine's, or None if it cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return None
