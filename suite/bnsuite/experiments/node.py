"""The devices of one node: each measured by itself, one after the other, then all at once, and judged by its peers.

Both passes give a device the same cores, a share of those of the node. All at once, each run is made by a process of
its own, which ends with this one. A device that can't be measured costs the others nothing: they are measured and
compared, and it is named with the reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path

from bnsuite import __version__
from bnsuite.experiments.events import Event, Notify, Remark
from bnsuite.experiments.run import INTERRUPTED, RunRequest, RunResult, run
from bnsuite.judge import node
from bnsuite.judge.diagnosis import nothing_measured
from bnsuite.judge.gates import judge
from bnsuite.judge.node import DeviceRuns, NodeDevice, NodeReport, NodeRow
from bnsuite.judge.verdict import ExitStatus, exit_status
from bnsuite.launch.process import interrupts
from bnsuite.record import store
from bnsuite.record.devices import folder_name
from bnsuite.record.errors import InputError, NotMeasuredError, WriteError
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


@dataclass
class _Passes:
    """What came of both passes, by the names of the devices' folders."""

    alone: dict[str, RunResult] = field(default_factory=dict)
    together: dict[str, RunResult] = field(default_factory=dict)
    #: Why a device was not measured, or what ended its runs before their end.
    troubles: dict[str, str] = field(default_factory=dict)
    finished: bool = False


def measure(request: NodeRequest, notify: Notify) -> NodeResult:
    """Measure each device alone and all at once, and judge them; the folder, which the caller has claimed, holds all.

    A device that can't be measured is in the report with the reason. Raises InputError or NotMeasuredError if none can,
    and WriteError.
    """
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    names = _names(request.devices)
    shares = dict(zip(names, core_shares(sorted(os.sched_getaffinity(0)), len(names)), strict=True))
    devices = dict(zip(names, request.devices, strict=True))
    if _clean(request.folder):
        notify(Remark(f"{request.folder.path}: replacing the results of an earlier run"))
    passes = _Passes()
    reached_all = _one_by_one(request, devices, shares, passes, notify)
    warnings = [warning for one in passes.alone.values() for warning in one.warnings]
    sound = [name for name, one in passes.alone.items() if one.run.finished]
    timed = [name for name in sound if any(timed_on_one_device(one.case) for one in passes.alone[name].run.cases)]
    at_once = timed if reached_all and len(timed) > 1 else []
    if at_once:
        notify(Remark(f"{len(at_once)} of {len(names)} devices at once, times alone"))
        requests = {name: _together(request, devices[name], name) for name in at_once}
        passes.together, troubles = _all_at_once(requests, shares)
        passes.troubles |= {name: f"all at once: {why}" for name, why in troubles.items()}
        warnings += [f"{name}, all at once: {why}" for name, why in troubles.items()]
    passes.finished = len(sound) == len(names) and all(
        name in passes.together and passes.together[name].run.finished for name in at_once
    )
    report = _report(request, devices, passes, started)
    write_atomically(request.folder.path / NODE, report.model_dump_json(by_alias=True, indent=1) + "\n")
    return NodeResult(
        tuple(passes.alone.values()),
        tuple(passes.together.values()),
        report,
        tuple(warnings),
        next((one.error for one in passes.alone.values() if one.error), None),
    )


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


def _clean(folder: ResultsFolder) -> bool:
    """Removes what an earlier command left, and runs all at once without a verdict; returns if there was any."""
    found = folder.clean()
    for old in (folder.path / TOGETHER).glob("*"):
        found |= folder.within(f"{TOGETHER}/{old.name}").clean()
    return found


def _one_by_one(
    request: NodeRequest,
    devices: Mapping[str, DeviceRequest],
    shares: Mapping[str, Sequence[int]],
    passes: _Passes,
    notify: Notify,
) -> bool:
    """Measures every device alone, into `passes`; returns False if that was interrupted.

    Raises the first device's error if none can be measured: it is then of what was asked for.
    """
    errors: list[Exception] = []
    for name, device in devices.items():
        notify(Remark(f"{device.name} ({device.model}) alone, into {request.folder.path / name}"))
        one = _alone(request, device, name)
        try:
            with _on(shares[name]):
                made = passes.alone[name] = run(one, notify)
        except WriteError:
            raise
        except (InputError, NotMeasuredError) as error:
            errors.append(error)
            passes.troubles[name] = str(error)
            notify(Remark(f"{device.name}: not measured: {error}"))
            one.folder.clean()
            continue
        if made.run.ended_by == INTERRUPTED:
            return False
        if not made.run.finished:
            passes.troubles[name] = f"its run ended early: {made.run.ended_by}"
    if not passes.alone:
        raise errors[0]
    return True


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


def _all_at_once(
    requests: Mapping[str, RunRequest], shares: Mapping[str, Sequence[int]]
) -> tuple[dict[str, RunResult], dict[str, str]]:
    """Returns the runs that were made at once, as far as they came, and what ended those that did not end well."""
    spawn = multiprocessing.get_context("spawn")
    pipes = {name: spawn.Pipe(duplex=False) for name in requests}
    processes = {
        name: spawn.Process(target=_run_in_process, args=(one, list(shares[name]), os.getpid(), pipes[name][1]))
        for name, one in requests.items()
    }
    try:
        for process in processes.values():
            process.start()
        for process in processes.values():
            process.join()
    except KeyboardInterrupt:  # their own handling is under way, or begins here
        pass
    finally:
        for process in processes.values():
            if process.is_alive():
                process.terminate()
        for process in processes.values():
            if process.pid is not None:
                process.join()
    runs = {name: found for name, one in requests.items() if (found := _read(one)) is not None}
    ends = {name: _end_of(runs.get(name), *pipes[name], processes[name].exitcode) for name in requests}
    return runs, {name: why for name, why in ends.items() if why is not None}


def _end_of(made: RunResult | None, said: Connection, saying: Connection, status: int | None) -> str | None:
    """Returns what ended a run that was made at once before its end, by what its process left; None for a whole one."""
    with said, saying:
        if made is not None:
            return None if made.run.finished else made.run.ended_by or "its process was ended"
        return str(said.recv()) if said.poll() else f"its process left no run (exit status {status})"


def _run_in_process(request: RunRequest, cores: list[int], parent: int, saying: Connection) -> None:
    """Makes one run and leaves it in its folder, or says why it can't; the end of the parent ends it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        return
    interrupts.raise_interrupt()
    os.sched_setaffinity(0, cores)
    request.folder.path.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            run(request, _say_nothing)
        except (InputError, NotMeasuredError) as error:
            saying.send(str(error))


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


def _report(request: NodeRequest, devices: Mapping[str, DeviceRequest], passes: _Passes, started: str) -> NodeReport:
    runs = []
    for name, made in passes.alone.items():
        beside = passes.together.get(name)
        device = devices[name]
        runs.append(DeviceRuns(name, device.model, device.uuid, made.run, beside.run if beside is not None else None))
    found = node.rows(runs)
    by_name = {one.device: one for one in runs}
    judged = []
    for name, device in devices.items():
        peers = sum(other.model == device.model for other in request.devices) - 1
        if name in by_name:
            judged.append(_judged(by_name[name], passes, found, peers, strict=request.strict))
        elif name in passes.troubles:
            judged.append(
                NodeDevice(
                    device=name,
                    model=device.model,
                    uuid=device.uuid,
                    alone=None,
                    together=None,
                    status=ExitStatus.NOT_MEASURED,
                    trouble=passes.troubles[name],
                )
            )
    return NodeReport(
        schema=NodeReport.SCHEMA,
        bnsuite=__version__,
        started=started,
        finished=passes.finished,
        devices=tuple(judged),
        rows=tuple(found),
        unlike=node.unlike(found),
        status=node.status(found, judged, finished=passes.finished, strict=request.strict),
    )


def _judged(one: DeviceRuns, passes: _Passes, found: Sequence[NodeRow], peers: int, *, strict: bool) -> NodeDevice:
    """Returns the verdict on a device that has a run, however far that came."""
    findings = passes.alone[one.device].findings
    finished = one.alone.finished and not nothing_measured(one.alone, findings)
    return NodeDevice(
        device=one.device,
        model=one.model,
        uuid=one.uuid,
        alone=one.device,
        together=f"{TOGETHER}/{one.device}" if one.together is not None else None,
        status=exit_status(findings, finished=finished, strict=strict),
        trouble=passes.troubles.get(one.device) or node.trouble(one, found, peers),
        slowdown=node.slowdown(one),
    )
