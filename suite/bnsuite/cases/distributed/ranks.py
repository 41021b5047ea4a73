"""The ranks of a distributed case: rank 0 is the timed process, and the others are processes that it starts.

One step, as rank 0 times it: a line on the pipe of each other rank lets it begin; every rank runs its own step; and an
all-reduce of one number closes it, which ends on rank 0 only when every rank has come to it. The time is therefore that
of the slowest rank, and of the closing. On a GPU both are enqueued in the current stream. A step that is an all-reduce
itself needs no closing.

The others start with the first case that needs so many of them and serve the following ones, each on a core of its
own and with one thread. They end before a case without them is timed, and with the process that started them, however
that ends: when it closes their pipe, and by the kernel when it is killed. A torchrun of the user's is not used: the
timed process answers the coordinator by its own pipe, which a launcher would stand between.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnsuite.cases.case import Step
    from bnsuite.cases.distributed.case import DistributedCase

#: The cores that all ranks may use, comma-separated, and a mark that several may share one.
CORES_VARIABLE, SHARED_VARIABLE = "BNSUITE_RANKCORES", "BNSUITE_OVERSUBSCRIBE"

#: The limit for starting Python and torch in the other ranks, and that of one collective operation.
START_UP_S = 180.0
COLLECTIVE_S = 120.0
#: Seconds in which a rank that failed has ended.
GRACE_S = 2.0


class RanksError(RuntimeError):
    """The ranks can't be had, or one of them failed."""


class RankStep:
    """The step of all ranks, called on rank 0; it returns on a CPU when the slowest rank is done."""

    def __init__(self, group: Group, number: int, own: Local) -> None:
        self._group, self._own = group, own
        self._step, self._all_reduce = f"{number} step\n".encode(), f"{number} all-reduce\n".encode()
        weakref.finalize(self, group.tell, f"{number} drop\n".encode())

    def __call__(self) -> None:
        self._group.tell(self._step)
        try:
            self._own.run("step")
        except RuntimeError as error:
            raise self._group.failed(error) from error

    def all_reduce(self) -> None:
        """The all-reduce of the case's payload alone."""
        self._group.tell(self._all_reduce)
        try:
            self._own.run("all-reduce")
        except RuntimeError as error:
            raise self._group.failed(error) from error


class Local:
    """One rank's part of a case: its step, closed by an all-reduce of one number, and the exchange alone."""

    def __init__(self, asked: dict[str, Any], device: str, number: int, world: int) -> None:
        import torch

        from bnsuite.cases.distributed import programs

        self._payload = torch.zeros(asked["numbers"], device=device)  # zeros stay zeros, however often they are added
        self._mark = torch.zeros(1, device=device)
        self._exchange_only = asked["program"] == "all-reduce"
        if not self._exchange_only:
            self._step = programs.build(
                asked["program"], asked["subject"], programs.Rank(number, world, device, asked["seed"])
            )

    def run(self, what: str) -> None:
        """Runs "step" or "all-reduce"."""
        from torch import distributed

        if what == "all-reduce" or self._exchange_only:
            distributed.all_reduce(self._payload)
        else:
            self._step()
            distributed.all_reduce(self._mark)


def build(case: DistributedCase, device: str, seed: int) -> Step:
    """Returns the step of `case`, built on all its ranks; RanksError if they can't be had."""
    if case.ranks == 1:
        from bnsuite.cases.distributed import programs

        return programs.build(case.program, case.subject, programs.Rank(0, 1, device, seed))
    group = _Kept.group
    if group is None or (group.device, group.ranks) != (device, case.ranks) or group.ended:
        close()
        group = _Kept.group = Group(device, case.ranks)
    asked = {"program": case.program, "subject": case.subject, "numbers": case.numbers, "seed": seed}
    return group.build(asked)


class Group:
    """The process group of this process, which is rank 0, and `ranks` - 1 others on `device` or its neighbours."""

    def __init__(self, device: str, ranks: int) -> None:
        from torch import distributed

        if not distributed.is_available() or not (distributed.is_gloo_available() or device != "cpu"):
            raise RanksError("this torch is built without torch.distributed and gloo")
        if distributed.is_initialized():
            raise RanksError("a process group exists already; bnsuite starts its ranks itself, without torchrun")
        self.device, self.ranks, self.ended = device, ranks, False
        self._numbers = itertools.count()
        cores = _cores(ranks)
        self._folder = tempfile.TemporaryDirectory(prefix="bnsuite-ranks-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name, "log.txt")
        root = str(Path(__file__).parents[3])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(ranks)}
        _speak_by_loopback(environment)
        _speak_by_loopback(os.environ)
        self._others: list[subprocess.Popen[bytes]] = []
        try:
            with self._log.open("wb") as log:
                for rank, core in enumerate(cores, 1):
                    other = subprocess.Popen(
                        self._command(rank, core),
                        stdin=subprocess.PIPE,
                        stdout=log,
                        stderr=log,
                        bufsize=0,
                        env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                    )
                    self._others.append(other)  # one by one: those that have started are ended if the next one can't be
            self._wait_until_ready()
            join(0, ranks, Path(self._folder.name), device)
        except BaseException:
            self.close()
            raise

    def _command(self, rank: int, core: int) -> list[str]:
        place = [self._folder.name, self.device, str(os.getpid()), str(core)]
        return [sys.executable, "-m", "bnsuite.cases.distributed", str(rank), str(self.ranks), *place]

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + START_UP_S
        waiting = [Path(self._folder.name, f"ready-{rank}") for rank in range(1, self.ranks)]
        while waiting := [path for path in waiting if not path.exists()]:
            if (why := self._first_end()) is not None:
                raise RanksError(why)
            if time.monotonic() > end:
                raise RanksError(f"{len(waiting)} of {self.ranks} ranks did not start within {START_UP_S:g} s")
            time.sleep(0.01)

    def build(self, asked: dict[str, Any]) -> RankStep:
        """Returns the step that is asked for, once every rank has built it."""
        number = next(self._numbers)
        self.tell(f"{number} build {json.dumps(asked)}\n".encode())
        try:
            step = RankStep(self, number, Local(asked, rank_device(self.device, 0), 0, self.ranks))
            step.all_reduce()  # every rank has built it
        except RuntimeError as error:
            raise self.failed(error) from error
        return step

    def tell(self, line: bytes) -> None:
        """Has every other rank do what `line` says; a rank that is gone is found out when it is waited for."""
        if self.ended:
            return
        for other in self._others:
            assert other.stdin is not None
            with contextlib.suppress(OSError):
                other.stdin.write(line)

    def failed(self, error: RuntimeError) -> RuntimeError:
        """Returns the error with the rank that ended, if one did; the group is of no more use."""
        if isinstance(error, RanksError):
            return error
        end = time.monotonic() + GRACE_S
        while (why := self._first_end()) is None and time.monotonic() < end:
            time.sleep(0.01)
        self.ended = True
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return RanksError(why or f"rank 0: {said}")

    def _first_end(self) -> str | None:
        """Returns which rank ended, how and with what last words; None while all run."""
        for rank, other in enumerate(self._others, 1):
            status = other.poll()
            if status is not None:
                how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
                said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                return f"rank {rank} ended {how}" + (f": {said[-1].strip()}" if said else "")
        return None

    def close(self) -> None:
        """Ends the other ranks and this process's part in the group."""
        from torch import distributed

        self.ended = True
        for other in self._others:
            other.kill()
        with contextlib.suppress(Exception):  # the others are gone
            if distributed.is_initialized():
                distributed.destroy_process_group()
        for other in self._others:
            other.wait()
            assert other.stdin is not None
            with contextlib.suppress(OSError):
                other.stdin.close()
        self._folder.cleanup()


class _Kept:
    """The one group of this process: torch has one default group."""

    group: Group | None = None


@atexit.register
def close() -> None:
    """Ends the ranks that run, if any do."""
    group, _Kept.group = _Kept.group, None
    if group is not None:
        group.close()


def join(rank: int, ranks: int, folder: Path, device: str) -> None:
    """Makes this process one of `ranks`, by NCCL on GPUs and by gloo on a CPU."""
    import torch
    from torch import distributed

    here = rank_device(device, rank)
    if device != "cpu":
        torch.cuda.set_device(here)
    store = distributed.FileStore(  # type: ignore[attr-defined]  # it is there, and documented
        str(folder / "store"), ranks
    )
    distributed.init_process_group(
        "gloo" if device == "cpu" else "nccl",
        store=store,
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=COLLECTIVE_S),
    )


def rank_device(device: str, rank: int) -> str:
    """Returns the device of a rank: the CPU, or the `rank`-th GPU from `device` on, in a circle."""
    if device == "cpu":
        return device
    import torch

    return f"cuda:{(int(device.partition(':')[2] or 0) + rank) % torch.cuda.device_count()}"


def _cores(ranks: int) -> list[int]:
    """Returns the cores of ranks 1, 2 and so on, none of which is rank 0's; RanksError if there are too few.

    Where several may share one, the cores are dealt out in a circle.
    """
    own = sorted(os.sched_getaffinity(0))
    named = os.environ.get(CORES_VARIABLE)
    given = [int(core) for core in named.split(",")] if named else own
    mine = own if len(own) < len(given) else given[-1:]
    others = [core for core in given if core not in mine]
    if os.environ.get(SHARED_VARIABLE):
        return [core for _, core in zip(range(ranks - 1), itertools.cycle([*others, *mine]), strict=False)]
    if len(others) < ranks - 1:
        raise RanksError(f"needs {ranks} cores, one per rank; {len(given)} are given")
    return others[: ranks - 1]


def _speak_by_loopback(environment: Any) -> None:
    """Has gloo speak by the loopback interface: the name of a host may lead nowhere."""
    if Path("/sys/class/net/lo").exists():
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
