"""State that all cases of a process share: what it was before a workload's file was imported, and what was changed.

The clocks are bound where they are used before any file of a user's is imported, so that a patched one measures
nothing; that it was patched is reported all the same.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from inspect import isbuiltin, isclass, isfunction
from mmap import mmap
from typing import Any

#: The clocks that a workload must leave alone, by module and name.
CLOCKS = (
    *(
        ("time", name)
        for name in ("perf_counter", "perf_counter_ns", "monotonic", "time", "process_time", "thread_time")
    ),
    *(("torch.cuda", name) for name in ("synchronize", "Event", "current_stream")),
)
#: What is said of a workload whose child goes on as if it were the parent.
FORKED = "forks, and the child came back from the step; end it with os._exit"
#: A seed that no file sets by itself.
SEED = 0x626E_0000


class WorkloadError(ValueError):
    """A workload can't be measured, or can't be trusted; the message names its file, its name and the cause."""


class SideEffectError(WorkloadError):
    """A workload runs, but what it does besides makes its times and values worth nothing."""


@dataclass(frozen=True)
class _Setting:
    """A setting of the process: how it is read and put back, and what to do in place of changing it."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]
    advice: str


@lru_cache(maxsize=1)
def _settings() -> tuple[_Setting, ...]:
    import torch

    return (
        _Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype, "give dtype= to its tensors"),
        _Setting("default device", torch.get_default_device, torch.set_default_device, "use the device of its inputs"),
        _Setting("number of threads", torch.get_num_threads, torch.set_num_threads, "use --threads"),
        _Setting("grad mode", torch.is_grad_enabled, torch.set_grad_enabled, "use `with torch.no_grad()`"),
        _Setting(
            "deterministic mode",
            torch.are_deterministic_algorithms_enabled,
            torch.use_deterministic_algorithms,
            "leave it to its callers",
        ),
        _Setting("current folder", os.getcwd, os.chdir, "use absolute paths"),
        _Setting(
            "cores", lambda: os.sched_getaffinity(0), lambda cores: os.sched_setaffinity(0, cores), "use --threads"
        ),
    )


def _bindings() -> dict[tuple[str, str], Any]:
    """Returns the clocks, and the functions and classes of the measuring, by module and name."""
    found = {(module, name): getattr(sys.modules[module], name) for module, name in CLOCKS if module in sys.modules}
    for name, module in list(sys.modules.items()):
        if name.startswith("bnsuite.measure"):
            of = {one: what for one, what in vars(module).items() if _is_code(what)}
            found |= {(name, one): what for one, what in of.items()}
    return found


def _is_code(value: object) -> bool:
    return isfunction(value) or isbuiltin(value) or isclass(value)


class SharedState:
    """The shared state as it is now."""

    def __init__(self) -> None:
        self._values = [(one, one.read()) for one in _settings()]
        self._bound = _bindings()

    def changed(self) -> str | None:
        """Returns what differs now, with what to do instead, and puts it back; None if nothing does."""
        said = []
        for one, before in self._values:
            if (now := one.read()) != before:
                said.append(f"changes the {one.name} from {before} to {now}; {one.advice}")
                one.write(before)
        for (module, name), before in self._bound.items():
            holder = sys.modules.get(module)
            if holder is not None and getattr(holder, name, None) is not before:
                said.append(f"replaces {module}.{name}; leave the measuring alone")
                setattr(holder, name, before)
        return said[0] if said else None


@contextmanager
def guarded(who: object, what: str) -> Iterator[None]:
    """Puts shared state back at the end; raises WorkloadError if it was changed, and for whatever is raised inside.

    A child that was forked inside and comes here goes no further.
    """
    state, getpid, returned = SharedState(), os.getpid, _returned(str(who))
    pid = getpid()
    try:
        with told(who, what):
            yield
    finally:
        if getpid() != pid:
            returned[0] = 1
            os._exit(1)
        changed = FORKED if returned[0] else None
        changed = state.changed() or changed
        if changed is not None and sys.exc_info()[1] is None:
            raise SideEffectError(f"workload {who}: {changed}")


@lru_cache(maxsize=64)
def _returned(who: str) -> mmap:  # noqa: ARG001  # one for each
    """Returns the mark, shared with children, that a child of a workload has come back."""
    return mmap(-1, 1)


@contextmanager
def told(who: object, what: str | Callable[[], str]) -> Iterator[None]:
    """Turns any exception inside into a WorkloadError in one line: `who`, `what` failed (then), and the cause."""
    try:
        yield
    except WorkloadError:
        raise
    except (Exception, SystemExit) as error:
        first = next(iter(str(error).strip().splitlines()), "")
        cause = f"{type(error).__name__}: {first}" if first else type(error).__name__
        failed = what() if callable(what) else what
        raise WorkloadError(f"workload {who}: {failed}: {cause}") from error


def seed_all(seed: int) -> None:
    """Seeds every generator that a workload may draw from."""
    import random

    import torch

    torch.manual_seed(SEED + seed)
    random.seed(SEED + seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        with contextlib.suppress(AttributeError):
            numpy.random.seed(SEED + seed)


def seed_changed(seed: int) -> bool:
    """Returns True if something has seeded torch's generator anew since :func:`seed_all`."""
    import torch

    return torch.initial_seed() != SEED + seed


class Processes:
    """The threads and the process of a step: a child that comes back from one is ended, and the parent told."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._threads = threading.active_count()
        self._mark = mmap(-1, 1)  # shared with children

    def end_child(self) -> None:
        """Ends this process, which a step has forked and which came back from it."""
        self._mark[0] = 1
        os._exit(1)

    def trouble(self) -> str | None:
        """Returns what the steps have left behind, or None."""
        if self._mark[0]:
            return FORKED
        if (more := threading.active_count() - self._threads) > 0:
            return f"leaves {more} threads behind, whose work is not timed; join them before it returns"
        return None
