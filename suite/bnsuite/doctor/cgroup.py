"""Checks of the control group: CPU quota and throttling, cpuset, memory limit; of version 1 and version 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bnsuite.doctor.cpu import online
from bnsuite.doctor.host import DoctorRequest, Host, fields, numbers
from bnsuite.doctor.result import Result, Subject, fine, judged, not_applicable

#: Memory of the coordinator, of a few workers with a torch each, and of the largest quick case.
MIN_MEMORY_BYTES = 2 << 30
#: Version 1 writes the largest multiple of a page for "no limit".
UNLIMITED = 1 << 60
#: A share of throttled periods that shows in times.
MAX_THROTTLED = 0.01


@dataclass(frozen=True)
class Hierarchy:
    """The folders of one controller that hold this process, its own first and the outermost visible one last."""

    version: int
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Quota:
    """The smallest CPU quota, in cores, and the folder that sets it."""

    cores: float
    folder: str


@dataclass(frozen=True)
class CgroupFacts:
    """The host, its hierarchies, the quota, and the counters of throttling at two moments."""

    host: Host
    request: DoctorRequest
    quota: Quota | None
    version: int | None
    before: dict[str, int]
    after: dict[str, int]


def hierarchy(host: Host, controller: str) -> Hierarchy | None:
    """Returns the folders of a controller; None if none is mounted.

    In a container without a namespace of its own, /proc/self/cgroup has the path on the host, of which the mount shows
    the end.
    """
    own: dict[str, str] = {}
    for line in (host.text("proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for name in controllers.split(","):
            own[name] = path  # "" is version 2
    second = None
    for version, names, shown, mount in _mounts(host):
        if version == 1 and controller in names and controller in own:
            return Hierarchy(1, _folders(mount, shown, own[controller]))
        if version == 2 and "" in own:
            second = second or Hierarchy(2, _folders(mount, shown, own[""]))
    return second


def _mounts(host: Host) -> Iterator[tuple[int, list[str], str, str]]:
    """Yields version, controllers, the root that is shown and the place of each mount of control groups."""
    for line in (host.text("proc/self/mountinfo") or "").splitlines():
        place, _, kind = line.partition(" - ")
        left, right = place.split(), kind.split()
        if len(left) > 4 and len(right) > 2 and right[0] in {"cgroup", "cgroup2"}:
            yield (1 if right[0] == "cgroup" else 2), right[2].split(","), left[3], left[4].strip("/")


def _folders(mount: str, shown: str, own: str) -> tuple[str, ...]:
    shown = shown.rstrip("/")
    inside = own[len(shown) :] if own == shown or own.startswith(f"{shown}/") else ""
    parts = [part for part in inside.split("/") if part and part != ".."]
    return tuple("/".join([mount, *parts[:length]]) for length in range(len(parts), -1, -1))


def quota_of(host: Host, found: Hierarchy) -> Quota | None:
    """Returns the smallest quota of a hierarchy's folders."""
    quotas = []
    for folder in found.folders:
        if found.version == 2:
            words = (host.text(f"{folder}/cpu.max") or "").split()
        else:
            words = [(host.text(f"{folder}/cpu.cfs_{name}_us") or "").strip() for name in ("quota", "period")]
        if len(words) == 2 and all(words) and words[0] not in {"max", "-1"}:
            quotas.append(Quota(int(words[0]) / int(words[1]), folder))
    return min(quotas, key=lambda one: one.cores, default=None)


def probe(host: Host, request: DoctorRequest) -> CgroupFacts:
    """Looks at the control group of the processor, at its counters twice."""
    found = hierarchy(host, "cpu")
    quota = quota_of(host, found) if found else None
    if found is None or quota is None:
        return CgroupFacts(host, request, None, found.version if found else None, {}, {})
    path = f"{quota.folder}/cpu.stat"
    before = fields(host.text(path) or "")
    host.wait(host.window_s)
    return CgroupFacts(host, request, quota, found.version, before, fields(host.text(path) or ""))


def cpu_quota(facts: CgroupFacts) -> Result:
    """The quota must be enough for the timed threads and for the process that coordinates them."""
    if facts.quota is None:
        return not_applicable("no-limit")
    needed = facts.request.threads + 1
    cores = facts.quota.cores
    return judged("raise-quota", disturbed=cores < needed, quota_cores=round(cores, 3), needed=needed)


def throttling(facts: CgroupFacts) -> Result:
    """A process that used up its quota stands still until the next period."""
    if facts.quota is None or "nr_throttled" not in facts.after:
        return not_applicable("no-limit")
    periods, throttled = facts.after.get("nr_periods", 0), facts.after["nr_throttled"]
    now = throttled - facts.before.get("nr_throttled", throttled)
    if "throttled_usec" in facts.after:
        stood_s = facts.after["throttled_usec"] / 1e6
    else:
        stood_s = facts.after.get("throttled_time", 0) / 1e9
    return judged(
        "raise-quota",
        disturbed=now > 0 or throttled > MAX_THROTTLED * periods,
        throttled=throttled,
        periods=periods,
        throttled_s=round(stood_s, 3),
        now=now,
    )


def cpuset(facts: CgroupFacts) -> Result:
    """The cores that the control group allows; how many are needed is the check `cores`."""
    found = hierarchy(facts.host, "cpuset")
    names = ("cpuset.cpus.effective",) if found and found.version == 2 else ("cpuset.effective_cpus", "cpuset.cpus")
    for folder in found.folders if found else ():
        for name in names:
            allowed = (facts.host.text(f"{folder}/{name}") or "").strip()
            if allowed:
                return fine(cpus=allowed, cores=len(numbers(allowed)), online=online(facts.host))
    return not_applicable("no-limit")


def memory_limit(facts: CgroupFacts) -> Result:
    """What the control group leaves must hold a few workers; cached files are given back."""
    found = hierarchy(facts.host, "memory")
    least: tuple[int, int, int] | None = None
    for folder in found.folders if found else ():
        second = found is not None and found.version == 2
        limit = (facts.host.text(f"{folder}/{'memory.max' if second else 'memory.limit_in_bytes'}") or "max").strip()
        if limit == "max" or int(limit) >= UNLIMITED:
            continue
        used = int(facts.host.required(f"{folder}/{'memory.current' if second else 'memory.usage_in_bytes'}"))
        stat = fields(facts.host.text(f"{folder}/memory.stat") or "")
        used = max(0, used - stat.get("inactive_file" if second else "total_inactive_file", 0))
        least = min(least or (1 << 62, 0, 0), (max(0, int(limit) - used), int(limit), used))
    if least is None:
        return not_applicable("no-limit")
    room, limit_bytes, used_bytes = least
    return judged(
        "raise-memory-limit", disturbed=room < MIN_MEMORY_BYTES, limit_bytes=limit_bytes, used_bytes=used_bytes
    )


SUBJECT = Subject(
    "cgroup",
    probe,
    {"cpu-quota": cpu_quota, "cpu-throttling": throttling, "cpuset": cpuset, "memory-limit": memory_limit},
)
