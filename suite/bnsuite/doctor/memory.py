"""Checks of memory: how much is available, and whether the host swaps."""

from __future__ import annotations

from dataclasses import dataclass

from bnsuite.doctor.cgroup import MIN_MEMORY_BYTES
from bnsuite.doctor.host import CannotLookError, DoctorRequest, Host, fields
from bnsuite.doctor.result import Result, Subject, judged, not_applicable

#: So much of the swap space in use means that memory was short.
MAX_SWAPPED = 0.25


@dataclass(frozen=True)
class MemoryFacts:
    """The lines of /proc/meminfo in KiB, and those of /proc/vmstat at two moments."""

    meminfo: dict[str, int]
    before: dict[str, int]
    after: dict[str, int]

    def nbytes(self, name: str) -> int:
        """Returns a line of /proc/meminfo in bytes; CannotLookError if there is none."""
        if name not in self.meminfo:
            raise CannotLookError(f"/proc/meminfo has no line {name}")
        return self.meminfo[name] * 1024


def probe(host: Host, request: DoctorRequest) -> MemoryFacts:  # noqa: ARG001  # the same for all measurements
    """Looks at the host's memory, at the counters of swapping twice."""
    before = fields(host.text("proc/vmstat") or "")
    host.wait(host.window_s)
    return MemoryFacts(fields(host.required("proc/meminfo")), before, fields(host.text("proc/vmstat") or ""))


def available(facts: MemoryFacts) -> Result:
    """Memory must hold a few workers without swapping."""
    free = facts.nbytes("MemAvailable")
    return judged(
        "free-memory", disturbed=free < MIN_MEMORY_BYTES, available_bytes=free, total_bytes=facts.nbytes("MemTotal")
    )


def swap(facts: MemoryFacts) -> Result:
    """No page may have to come back from a disk."""
    total = facts.nbytes("SwapTotal")
    if not total:
        return not_applicable("no-swap")
    used = total - facts.nbytes("SwapFree")
    moved = sum(max(0, facts.after.get(name, 0) - facts.before.get(name, 0)) for name in ("pswpin", "pswpout"))
    return judged(
        "stop-swapping",
        disturbed=moved > 0 or used > MAX_SWAPPED * total,
        used_bytes=used,
        total_bytes=total,
        pages_moved=moved,
    )


SUBJECT = Subject("memory", probe, {"memory": available, "swap": swap})
