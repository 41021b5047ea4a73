"""The devices of one node: each measured by itself, one after the other, then all at once, and judged by its peers.

Both passes give a device the same cores, a share of those of the node. All at once, each run is made by a process of
its own, which ends with this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from bnsuite import __version__
from bnsuite.experiments.events import Event, Notify, Remark
from bnsuite.experiments.run import RunRequest, RunResult, run
from bnsuite.judge import node
from bnsuite.judge.diagnosis import nothing_measured
from bnsuite.judge.gates import judge
from bnsuite.judge.node import DeviceRuns, NodeDevice, NodeReport
from bnsuite.judge.verdict import exit_status
from bnsuite.launch.process import interrupts
from bnsuite.record import store
from bnsuite.record.devices import folder_name
from bnsuite.record.errors import InputError
from bnsuite.record.files import exists, write_atomically
from bnsuite.record.folder import NODE, RUN, TOGETHER, ResultsFolder
from bnsuite.record.host import HostReport
from bnsuite.record.reference import Reference
from bnsuite.record.schema import PlannedCase, Run, RunOptions

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class DeviceRequest:
    """One device of the node: its name as a run takes it, and the identity by which its figures are kept."""

    name: str
    model: str
    uuid: str | None = None
    #: A known fault of its timed cases (see ``measure/fault_injection.py``).
    injected: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeRequest:
    """The devices of a node to be measured, and how."""

    devices: tuple[DeviceRequest, ...]
    #: Of every run; the device is replaced.
    options: RunOptions
    folder: ResultsFolder
    data: Path | None
    #: Returns what a run, still empty, is held against: one measured alone, and one beside the others.
    reference: Callable[[Run], Reference]
    reference_together: Callable[[Run], Reference]
    host: HostReport | None = None
    strict: bool = False


@dataclass(frozen=True)
class NodeResult:
    """The runs of a node's devices with their findings, and the verdict on the node."""

    alone: tuple[RunResult, ...]
    together: tuple[RunResult, ...]
    report: NodeReport
    warnings: tuple[str, ...]
    #: What ended the measuring before its end, if anything did.
    error: Exception | None = None


def measure(request: NodeRequest, notify: Notify) -> NodeResult:
    """Measure each device alone and all at once, and judge them; the folder, which the caller has claimed, holds all.

    Raises InputError for what can't be measured at all.
    """
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    names = _names(request.devices)
    shares = core_shares(sorted(os.sched_getaffinity(0)), len(request.devices))
    alone: list[RunResult] = []
    for device, name, cores in zip(request.devices, names, shares, strict=True):
        notify(Remark(f"{device.name} ({device.model}) alone, into {request.folder.path / name}"))
        with _on(cores):
            alone.append(run(_alone(request, device, name), notify))
        if not alone[-1].run.finished:
            break
    together: list[RunResult] = []
    if len(alone) == len(request.devices) and all(one.run.finished for one in alone):
        notify(Remark(f"all {len(request.devices)} devices at once, times alone"))
        together = _all_at_once(request, names, shares)
    report = _report(request, names, alone, together, started)
    write_atomically(request.folder.path / NODE, report.model_dump_json(by_alias=True, indent=1) + "\n")
    warnings = tuple(warning for one in (*alone, *together) for warning in one.warnings)
    return NodeResult(
        tuple(alone), tuple(together), report, warnings, next((one.error for one in alone if one.error), None)
    )


def load(folder: Path) -> NodeReport:
    """Returns the verdict on a node in `folder`; InputError if it can't be read."""
    from bnsuite.record.files import read_text

    path = folder / NODE
    return store.parse(NodeReport, read_text(path, "verdict on a node"), path)


def is_node(folder: Path) -> bool:
    """Returns True if the verdict on a node lies in `folder`."""
    return exists(folder / NODE)


def core_shares(cores: Sequence[int], devices: int) -> list[list[int]]:
    """Returns the cores of each device, neighbours in number; all of them to each where there are too few."""
    each = len(cores) // devices
    return [list(cores[n * each : (n + 1) * each]) if each else list(cores) for n in range(devices)]


def timed_on_one_device(case: PlannedCase) -> bool:
    """Returns if a case's times are those of one device."""
    return "timing" in case.gates and case.ranks == 1 and case.kind != "ratio"


def _names(devices: Sequence[DeviceRequest]) -> list[str]:
    """Returns a folder's name for each device; one that is there twice is numbered."""
    names: list[str] = []
    for device in devices:
        name = folder_name(device.name)
        names.append(name if name not in names else f"{name}-{len(names)}")
    return names


def _alone(request: NodeRequest, device: DeviceRequest, name: str) -> RunRequest:
    options = request.options.model_copy(update={"device": device.name})
    folder = request.folder.within(name)
    return RunRequest(options, folder, request.data, request.reference, request.host, device.injected)


def _together(request: NodeRequest, device: DeviceRequest, name: str) -> RunRequest:
    return replace(
        _alone(request, device, f"{TOGETHER}/{name}"),
        reference=request.reference_together,
        accepts=timed_on_one_device,
        timing_only=True,
    )


@contextlib.contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    """Keeps this process, and what it starts, on `cores`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _all_at_once(request: NodeRequest, names: Sequence[str], shares: Sequence[Sequence[int]]) -> list[RunResult]:
    """Returns the runs that were made at once, as far as they came."""
    spawn = multiprocessing.get_context("spawn")
    requests = [_together(request, device, name) for device, name in zip(request.devices, names, strict=True)]
    processes = [
        spawn.Process(target=_run_in_process, args=(one, list(cores), os.getpid()))
        for one, cores in zip(requests, shares, strict=True)
    ]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    except KeyboardInterrupt:  # their own handling is under way, or begins here
        pass
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            if process.pid is not None:
                process.join()
    return [found for one in requests if (found := _read(one)) is not None]


def _run_in_process(request: RunRequest, cores: list[int], parent: int) -> None:
    """Makes one run and leaves it in its folder; the end of the parent ends it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        return
    interrupts.raise_interrupt()
    os.sched_setaffinity(0, cores)
    request.folder.path.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        run(request, _say_nothing)


def _say_nothing(_: Event) -> None:
    """Shows no progress: all devices would write into one line."""


def _read(request: RunRequest) -> RunResult | None:
    """Returns the run that a process left in its folder, judged; None if it left none."""
    if not exists(request.folder.path / RUN):
        return None
    try:
        made = store.load(request.folder.path)
    except InputError:
        return None
    reference = request.reference(made)
    return RunResult(made, reference, tuple(judge(made, reference)), request.folder, ())


def _report(
    request: NodeRequest, names: Sequence[str], alone: Sequence[RunResult], together: Sequence[RunResult], started: str
) -> NodeReport:
    by_folder = {one.folder.path.name: one.run for one in together}
    runs = [
        DeviceRuns(f"{name}", device.model, device.uuid, result.run, by_folder.get(name))
        for name, device, result in zip(names, request.devices, alone, strict=False)
    ]
    found = node.rows(runs)
    devices = [
        NodeDevice(
            device=one.device,
            model=one.model,
            uuid=one.uuid,
            alone=one.device,
            together=f"{TOGETHER}/{one.device}" if one.together is not None else None,
            status=exit_status(
                result.findings,
                finished=one.alone.finished and not nothing_measured(one.alone, result.findings),
                strict=request.strict,
            ),
            trouble=node.trouble(one, found, sum(other.model == one.model for other in runs) - 1),
            slowdown=node.slowdown(one),
        )
        for one, result in zip(runs, alone, strict=True)
    ]
    finished = len(together) == len(request.devices) and all(one.run.finished for one in (*alone, *together))
    return NodeReport(
        schema=NodeReport.SCHEMA,
        bnsuite=__version__,
        started=started,
        finished=finished,
        devices=tuple(devices),
        rows=tuple(found),
        unlike=node.unlike(found),
        status=node.status(found, devices, finished=finished, strict=request.strict),
    )
