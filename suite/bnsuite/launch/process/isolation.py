"""The isolation of measured processes. The settings are recorded with the run as the process got them.

The heap is kept, because large CPU tensors are otherwise timed through the allocator's page faults; threads are
fixed, because oversubscription makes times meaningless; a core is reserved, so that the coordinator and the
measured process do not share one.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bnsuite.launch.process.options import WorkerOptions
from bnsuite.record.errors import InputError
from bnsuite.record.functions import ROLES

#: Where the kernel says who gets huge pages.
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def heaps() -> list[tuple[tuple[int, int], dict[str, str]]]:
    """Returns settings under which glibc returns no tensor of the catalogue to the kernel between two steps.

    Each with the oldest version that takes them: older ones refuse a threshold above 32 MiB and keep their small
    default; 2.36 takes it.
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
    """Returns the settings that a C library such as "glibc 2.36" takes, by default this machine's."""
    version = _version(" ".join(platform.libc_ver()) if libc is None else libc)
    return next(settings for oldest, settings in heaps() if version >= oldest)


def _version(libc: str) -> tuple[int, int]:
    found = re.search(r"(\d+)\.(\d+)", libc)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def huge_pages(tunables: str | None = None) -> dict[str, str]:
    """Returns settings under which glibc asks for huge pages, beside other `tunables`.

    The small pages of a large tensor differ from process to process, and with them how the caches hold it.
    """
    return {"GLIBC_TUNABLES": ":".join([*filter(None, [tunables]), "glibc.malloc.hugetlb=1"])}


def takes_huge_pages(libc: str) -> bool:
    """Returns True if a C library, such as "glibc 2.36", knows that setting."""
    return libc.startswith("glibc") and _version(libc) >= (2, 35)


def kernel_refuses_huge_pages() -> bool:
    """Returns True if this kernel gives huge pages to no process."""
    try:
        return "[never]" in THP.read_text(encoding="ascii")
    except OSError:
        return True


#: Each worker holds a torch of its own in memory.
MAX_WORKERS = 8

#: Variables of the user's shell that would change what the launched pytest does.
REMOVED = (
    "PYTEST_ADDOPTS",
    "PYTEST_PLUGINS",
    "BNSUITE_IMPL",
    "BNSUITE_SUPPORTS",
    "BNSUITE_CASES",
    "BNSUITE_WORKLOADS",
    *(role.variable for role in ROLES.values()),
    "BNSUITE_RANKCORES",
    "BNSUITE_OVERSUBSCRIBE",
    "BNSUITE_FAULT",
)


def variables(threads: int) -> dict[str, str]:
    """Returns the variables that every measured process is given; an image's glibc may need other heap settings."""
    return {
        **keep_heap(),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": "0",
    }


def process_environment(options: WorkerOptions, **more: str) -> dict[str, str]:
    """Returns this process's environment, isolated; temporary files of the measured process go to its scratch folder.

    Implementations and cases import from the user's folder as well. Raises InputError if that is gone.
    """
    kept = {name: value for name, value in os.environ.items() if name not in REMOVED}
    if options.implementation is not None:
        more = {**more, "BNSUITE_IMPL": options.implementation, **supports(options)}
    more = {**more, **{ROLES[role].variable: name for role, name in options.functions.items()}}
    if options.cases:
        more = {**more, "BNSUITE_CASES": os.pathsep.join(options.cases)}
    if options.workloads:
        more = {**more, "BNSUITE_WORKLOADS": os.pathsep.join(options.workloads)}
    if options.imports_users_files:
        path = [str(current_folder()), *filter(None, [os.environ.get("PYTHONPATH")])]
        more = {**more, "PYTHONPATH": os.pathsep.join(path)}
    measured = {
        **settled_cores(options.cores),
        **ranks(options),
        **_fault(options),
        "BNSUITE_STAGE": str(options.stage),
        "TMPDIR": str(options.scratch),
    }
    return {**kept, **variables(options.threads), **measured, **more}


def supports(options: WorkerOptions) -> dict[str, str]:
    """Returns the variable that says what the implementation supports, if an option does."""
    if options.supports is None:
        return {}
    return {"BNSUITE_SUPPORTS": json.dumps({name: list(words) for name, words in options.supports.items()})}


def _fault(options: WorkerOptions) -> dict[str, str]:
    """Returns the variable that names the injected fault, if there is one."""
    return {"BNSUITE_FAULT": json.dumps(dict(options.injected))} if options.injected else {}


def ranks(options: WorkerOptions) -> dict[str, str]:
    """Returns the variables of a distributed case: the cores of its ranks, and a mark if they may share them."""
    cores = {"BNSUITE_RANKCORES": ",".join(map(str, options.rank_cores))} if options.rank_cores else {}
    return {**cores, **({"BNSUITE_OVERSUBSCRIBE": "1"} if options.oversubscribe else {})}


def settled_cores(cores: Sequence[int]) -> dict[str, str]:
    """Returns the variable that marks a measured process and names the cores to stay on (none: any)."""
    return {"BNSUITE_CORES": ",".join(map(str, cores))}


def current_folder() -> Path:
    """Returns the current folder; InputError if it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise InputError("the current folder was removed; change to one that exists") from None


def cores() -> list[int]:
    """Returns the cores this process may use, lowest first."""
    return sorted(os.sched_getaffinity(0))


def pool_cores(threads: int, given: list[int]) -> list[list[int]]:
    """Returns the cores of each worker of a pool: `threads` to each, at most MAX_WORKERS."""
    quota = _cpu_quota()
    room = len(given) if quota is None else max(1, min(len(given), int(quota)))
    workers = max(1, min(MAX_WORKERS, room // threads))
    return [given[n * threads : (n + 1) * threads] for n in range(workers)]


def _cpu_quota() -> float | None:
    """Returns the cores' worth of time that the container may use, where that is limited (cgroup v2)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # another cgroup version, or "max"
        return None


def timed_cores(
    threads: int, given: list[int], *, on_gpu: bool = False, near: Collection[int] | None = None
) -> list[int]:
    """Returns the last `threads` of the cores given, if one is left for the coordinator; else none.

    A process that is measured `on_gpu` gets one more, if there is one: the backward pass has a thread of its own, which
    launches its kernels. Cores `near` that GPU, on its NUMA node, are taken first.
    """
    wanted = threads + 1 if on_gpu and len(given) > threads + 1 else threads
    near = near or ()
    ordered = sorted(given, key=lambda core: core in near)
    return sorted(ordered[-wanted:]) if len(given) > wanted else []


@contextmanager
def coordinator_apart(taken: list[int], given: list[int]) -> Iterator[None]:
    """Keeps this process off the cores where time is being measured."""
    rest = set(given) - set(taken)
    if taken and rest:
        os.sched_setaffinity(0, rest)
    try:
        yield
    finally:
        os.sched_setaffinity(0, given)
