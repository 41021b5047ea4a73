"""The quiet surroundings a measured process is started in. What is set is recorded with the run.

The heap is kept, because large CPU tensors are otherwise timed through the allocator's page faults; threads are
fixed, because oversubscription makes times meaningless; a core is reserved, so that the coordinator and the
measured process do not take turns on one.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def heaps() -> list[tuple[tuple[int, int], dict[str, str]]]:
    """Settings under which glibc gives no tensor of the catalogue back to the kernel between two steps.

    Each with the oldest version that takes them: older ones refuse a threshold above 32 MiB and keep their small
    default; 2.36 was seen to take it.
    """
    return [
        (
            oldest,
            {
                "MALLOC_MMAP_THRESHOLD_": str(threshold),
                "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
                "MALLOC_TOP_PAD_": str(64 << 20),
            },
        )
        for oldest, threshold in (((2, 36), 4 << 30), ((0, 0), 32 << 20))
    ]


def keep_heap(libc: str | None = None) -> dict[str, str]:
    """The settings that a C library such as "glibc 2.36" takes, by default this machine's."""
    version = _version(" ".join(platform.libc_ver()) if libc is None else libc)
    return next(settings for oldest, settings in heaps() if version >= oldest)


def _version(libc: str) -> tuple[int, int]:
    found = re.search(r"(\d+)\.(\d+)", libc)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def huge_pages(users: str | None = None) -> dict[str, str]:
    """Settings under which glibc asks for huge pages, beside `users` tunables: where a tensor lies matters less then.

    Which small pages a large tensor gets differs from process to process, and with it how the caches hold it.
    """
    return {"GLIBC_TUNABLES": ":".join([*filter(None, [users]), "glibc.malloc.hugetlb=1"])}


def takes_huge_pages(libc: str) -> bool:
    """Whether a C library, such as "glibc 2.36", knows that setting."""
    return libc.startswith("glibc") and _version(libc) >= (2, 35)


#: Each worker holds a torch of its own in memory.
MAX_WORKERS = 8

#: Set in a user's shell these would change what the launched pytest does.
REMOVED = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "BNSUITE_IMPL")


def variables(threads: int) -> dict[str, str]:
    """What is set for every measured process."""
    return {
        **keep_heap(),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": "0",
    }


def environment(threads: int, scratch: Path, implementation: str | None = None, **more: str) -> dict[str, str]:
    """This process's environment, made quiet; what a measured process leaves in its TMPDIR goes with `scratch`.

    An `implementation` is looked for from where the user is.
    """
    kept = {name: value for name, value in os.environ.items() if name not in REMOVED}
    if implementation is not None:
        here = [str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
        more = {**more, "BNSUITE_IMPL": implementation, "PYTHONPATH": os.pathsep.join(here)}
    return {**kept, **variables(threads), "TMPDIR": str(scratch), **more}


def taking(cores: Sequence[int]) -> dict[str, str]:
    """What tells a measured process that it is one, and which cores to stay on (none: any)."""
    return {"BNSUITE_CORES": ",".join(map(str, cores))}


def worker_environment(
    threads: int, scratch: Path, implementation: str | None, *, stage: Path, cores: Sequence[int], token: str
) -> dict[str, str]:
    """The environment of a worker process of this machine, whose messages carry `token`."""
    more = {"BNSUITE_STAGE": str(stage), "BNSUITE_TOKEN": token, **taking(cores)}
    return environment(threads, scratch, implementation, **more)


def cores() -> list[int]:
    """The cores this process may use, lowest first."""
    return sorted(os.sched_getaffinity(0))


def side_by_side(threads: int, given: list[int]) -> list[list[int]]:
    """The cores of each of the workers that fit beside one another, `threads` to each, at most MAX_WORKERS."""
    quota = _cpu_quota()
    room = len(given) if quota is None else max(1, min(len(given), int(quota)))
    workers = max(1, min(MAX_WORKERS, room // threads))
    return [given[n * threads : (n + 1) * threads] for n in range(workers)]


def _cpu_quota() -> float | None:
    """How many cores' worth of time the container may use, where that is limited (cgroup v2)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # another cgroup version, or "max"
        return None


def timed_cores(threads: int, given: list[int]) -> list[int]:
    """The last `threads` of the cores given, where one is left for the coordinator; else none are fixed."""
    return given[-threads:] if len(given) > threads else []


@contextmanager
def coordinator_apart(taken: list[int], given: list[int]) -> Iterator[None]:
    """Keep this process off the cores where time is being measured."""
    rest = set(given) - set(taken)
    if taken and rest:
        os.sched_setaffinity(0, rest)
    try:
        yield
    finally:
        os.sched_setaffinity(0, given)
