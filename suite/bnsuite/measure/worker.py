"""The worker process: one JSON request per line on stdin, one JSON answer per line on stdout.

Started as ``python -m bnsuite.measure.worker`` in the environment that is judged. It needs torch and the
standard library only, and imports torch when a request first needs it. Output of the measured code goes to stderr.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsuite.measure import cores
from bnsuite.measure.channel import TOKEN_VARIABLE, Channel

if TYPE_CHECKING:
    from bnsuite.measure.interleaved import InterleavedCase

Request = dict[str, Any]
Answer = dict[str, Any]


def _folder(request: Request) -> Path | None:
    """The folder of downloaded images, if the request names one."""
    return Path(request["source"]) if request.get("source") else None


def _catalogue(request: Request) -> Answer:
    """The cases of a profile, with all that planning needs."""
    from bnsuite.cases import CatalogueError, profile
    from bnsuite.measure.timed_case import planned_s

    source = _folder(request)
    try:
        cases = profile(request["profile"])
    except CatalogueError as error:
        return {"refused": str(error), "cases": []}
    return {"refused": None, "cases": [{**case.describe(source), "timed_s": planned_s(case)} for case in cases]}


def _environment(request: Request) -> Answer:
    """The device that was asked for, resolved, and the environment around it; or why it is refused."""
    from bnsuite.cases import functions, implementation, skips
    from bnsuite.measure import devices, environment

    try:
        skips.declared()  # loads the implementation, if there is one
        functions.load_all()
        device = devices.resolve(request["device"])
        return {"refused": None, "device": device.name, "environment": environment.describe(device)}
    except (devices.DeviceError, implementation.ImplementationError, functions.FunctionError) as error:
        refused = str(error)
    except RuntimeError as error:  # a GPU that is busy, lost or in exclusive use says so when it is first touched
        refused = f"--device {request['device']}: {devices.why_refused(request['device'], error)}"
    return {"refused": refused, "device": None, "environment": None}


def _probe(request: Request) -> Answer:
    """Whether a fresh process, this one, can compute on a device at all: why not, or None."""
    from bnsuite.cases import gpu_errors
    from bnsuite.measure import devices

    device = devices.get(request["device"])
    try:
        device.use(watched=False)
        device.probe()
    except Exception as error:  # noqa: BLE001  # whatever it is: the device computes nothing
        return {"trouble": gpu_errors.one_line(error)}
    return {"trouble": None}


def _devices(_: Request) -> Answer:
    """Every GPU here, or why there is none."""
    from bnsuite.measure import devices

    found = []
    try:
        for name in devices.every():
            gpu = devices.get(name).describe()["gpu"]
            found.append({"name": name, "model": gpu["name"], "uuid": (gpu["nvml"] or {}).get("uuid")})
    except devices.DeviceError as error:
        return {"refused": str(error), "devices": []}
    except RuntimeError as error:  # as above
        return {"refused": f"--device {devices.ALL}: {devices.why_refused(devices.ALL, error)}", "devices": []}
    return {"refused": None, "devices": found}


def _gpu(request: Request) -> Answer:
    """NVML's account of a GPU before anything is measured on it; torch is not imported."""
    from bnsuite.measure import nvml

    return asdict(nvml.survey(request["index"]))


def _kernel(request: Request) -> Answer:
    """How a first kernel goes on a device, before anything is measured on it."""
    from bnsuite.measure import first_kernel

    return first_kernel.run(request["device"])


def _start(_: Request) -> Answer:
    """Imports what every measurement needs, so that no case is charged for it."""
    import torch  # noqa: F401

    return {}


def _stage(request: Request) -> Answer:
    """Makes data sets into a folder."""
    from bnsuite.cases import data

    return {"missing": data.stage(request["datasets"], Path(request["folder"]), _folder(request))}


def _curve(request: Request) -> Answer:
    """One training, recorded from its first epoch to its last."""
    from bnsuite.cases import TrainingCase, catalogue, skips
    from bnsuite.measure import devices
    from bnsuite.measure.training_recorder import record

    case = catalogue.case(request["case"])
    assert isinstance(case, TrainingCase)
    device = devices.get(request["device"])
    device.use(watched=False)
    try:
        skips.begin(case, device.name)
        curve, detail = record(case, device, request["seed"])
    except Exception as error:
        if (reason := skips.reason(error, case, device.name)) is None:
            raise
        return {"curve": None, "detail": None, "skipped": reason}
    return {"curve": asdict(curve), "detail": asdict(detail), "skipped": None}


def _check(request: Request) -> Answer:
    """The observations of one check, or why there is nothing to look at."""
    from bnsuite.cases import CheckCase, catalogue
    from bnsuite.measure import check, devices

    case = catalogue.case(request["case"])
    assert isinstance(case, CheckCase)
    device = devices.get(request["device"])
    device.use(watched=False)
    (observations, skipped), unfit = check.run_on(case, device)
    return {"observations": [asdict(one) for one in observations], "skipped": skipped, "unfit": unfit}


def _diagnose(request: Request) -> Answer:
    """The ways in which the implementation differs from batch norm, found on a few inputs."""
    from bnsuite.cases import diagnosis, implementation
    from bnsuite.measure import devices

    name = implementation.named()
    assert name is not None, "a request for processes of an implementation"
    device = devices.get(request["device"])
    device.use(watched=False)
    device.exact()
    return {"diagnosis": asdict(diagnosis.diagnose(name, request["device"]))}


@dataclass
class _Slot:
    """The place of the one case that this process holds ready for interleaved timing."""

    case: InterleavedCase | None = None

    @property
    def filled(self) -> InterleavedCase:
        assert self.case is not None, '"build" comes before this request'
        return self.case


_SLOT = _Slot()


def _prepare(request: Request) -> Answer:
    """Imports what the cases need (an optimizer for trainings), fills the heap, and stays on the given cores."""
    import torch

    import bnsuite.cases  # noqa: F401
    from bnsuite.measure.interleaved import pin
    from bnsuite.measure.warm_up import fill_heap

    x = torch.ones(2, requires_grad=True)
    torch.autograd.grad(2 * x, x, torch.ones(2))  # the first time it imports 0.5 s of sympy
    if request["trains"]:
        torch.optim.SGD([x], lr=0.0)  # the first one imports torch._dynamo, which takes longer than torch itself
    fill_heap(request["heap"])
    gc.collect()
    gc.freeze()  # what was imported stays: releasing a case need not look through it again, 0.1 s each time
    pin(request["cores"])
    return {"tunables": os.environ.get("GLIBC_TUNABLES")}


def _time_case(request: Request) -> Answer:
    """One case's timing, as a pytest item makes it, or why there is nothing to be timed."""
    from bnsuite.cases import catalogue, skips
    from bnsuite.measure import devices
    from bnsuite.measure.timed_launch import time_case

    device, case = devices.get(request["device"]), catalogue.case(request["case"])
    device.use()
    try:
        return {"timing": asdict(time_case(case, device)), "skipped": None}
    except Exception as error:
        if (reason := skips.reason(error, case, device.name)) is None:
            raise
        return {"timing": None, "skipped": reason}


def _kernels(request: Request) -> Answer:
    """What a step of a case launches, or why that can't be seen here."""
    from bnsuite.cases import catalogue, skips
    from bnsuite.measure import devices, kernels
    from bnsuite.measure.devices.profiled import ProfilerUnavailableError

    device, case = devices.get(request["device"]), catalogue.case(request["case"])
    device.use(watched=False)
    try:
        return {"kernels": asdict(kernels.record(case, device)), "skipped": None}
    except ProfilerUnavailableError as error:
        return {"kernels": None, "skipped": str(error)}
    except Exception as error:
        if (reason := skips.reason(error, case, device.name)) is None:
            raise
        return {"kernels": None, "skipped": reason}
    finally:
        device.empty_caches()


def _build(request: Request) -> Answer:
    """A case, built and warmed up: about how long a step takes, or why there is nothing to be timed."""
    from bnsuite.cases import catalogue, skips
    from bnsuite.measure import control, devices, interleaved
    from bnsuite.measure.fault_injection import InjectedFault

    _release({})
    device = devices.get(request["device"])
    device.use()
    try:
        case = interleaved.ready(request["case"], device, request["seed"], InjectedFault(**request["fault"]))
    except Exception as error:
        reason = None
        if request["case"] not in control.INTERLEAVED:
            reason = skips.reason(error, catalogue.case(request["case"]), device.name)
        if reason is None:
            raise
        return {"step_s": None, "cold": False, "examples": None, "skipped": reason}
    _SLOT.case = case
    answer = {"step_s": case.step_s, "cold": case.cold, "examples": case.examples, "skipped": None}
    if not device.holds_queue:
        return answer
    rounds = {"round_s": device.min_round_s, "block_s": device.block_s, "layouts": device.layouts}
    return {**answer, "wall_s": case.pace.wall_s, "max_iterations": case.pace.max_iterations, **rounds}


def _rebuild(request: Request) -> Answer:
    """The case that is ready, built anew elsewhere in memory."""
    _SLOT.filled.rebuild(request["shift"])
    return {}


def _time_block(request: Request) -> Answer:
    """Some rounds of the case that is ready."""
    return _SLOT.filled.block(request["rounds"], request["iterations"], request["warm"])._asdict()


def _measure_memory(_: Request) -> Answer:
    """The most memory that the case that is ready holds."""
    return {"memory": _SLOT.filled.memory()}


def _release(_: Request) -> Answer:
    """Frees the case, if one is ready; returns what the GPU went through since it was built."""
    case, _SLOT.case = _SLOT.case, None
    gpu = case.release() if case is not None else None
    return {"gpu": asdict(gpu) if gpu else None}


ANSWERS: dict[str, Callable[[Request], Answer]] = {
    "catalogue": _catalogue,
    "environment": _environment,
    "devices": _devices,
    "gpu": _gpu,
    "kernel": _kernel,
    "probe": _probe,
    "start": _start,
    "stage": _stage,
    "check": _check,
    "diagnose": _diagnose,
    "curve": _curve,
    "kernels": _kernels,
    "time_case": _time_case,
    "prepare": _prepare,
    "build": _build,
    "rebuild": _rebuild,
    "time_block": _time_block,
    "measure_memory": _measure_memory,
    "release": _release,
}


def _in_one_line(error: Exception) -> str:
    """Returns an exception in one line. Errors of a GPU are recognised only after torch was imported."""
    if "torch" in sys.modules:
        from bnsuite.cases import gpu_errors

        with contextlib.suppress(Exception):  # a torch that is broken has no errors of a GPU
            return gpu_errors.one_line(error)
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def main() -> None:
    """Answers requests until stdin ends."""
    cores.take()
    answers = Channel(os.dup(1), os.environ.pop(TOKEN_VARIABLE, None))
    os.dup2(2, 1)  # a print in the measured code must not look like an answer
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # nor is a request for the measured code to read
    os.close(nothing)
    for line in requests:
        request = json.loads(line)
        try:
            answer = answers.line({"done": ANSWERS[request["do"]](request)})
        except Exception as error:  # noqa: BLE001  # any exception of the measured code is an answer
            traceback.print_exc()
            answer = answers.line({"failed": _in_one_line(error)})
        answers.write(answer)


if __name__ == "__main__":
    main()
