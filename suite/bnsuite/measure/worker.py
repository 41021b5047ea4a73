"""The worker process: one JSON request a line on stdin, one JSON answer a line on stdout.

Started as ``python -m bnsuite.measure.worker`` in the environment that is judged. It needs torch and the
standard library only, and imports torch when a request first needs it. Whatever the measured code prints goes
to stderr.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsuite.measure import cores
from bnsuite.measure.channel import TOKEN_VARIABLE, Channel

if TYPE_CHECKING:
    from bnsuite.measure.bench import Bench

Request = dict[str, Any]
Answer = dict[str, Any]


def _folder(request: Request) -> Path | None:
    """Where images are looked for, if the request says."""
    return Path(request["source"]) if request.get("source") else None


@cache
def _installed(package: str) -> bool:
    return find_spec(package) is not None


def _catalogue(request: Request) -> Answer:
    """The cases of a profile, as the outer half plans with them."""
    from bnsuite.cases import defects, profile
    from bnsuite.cases.data import to_download

    source = _folder(request)
    return {
        "cases": [
            {
                "id": case.id,
                "family": case.family,
                "version": case.version,
                "gates": list(case.gates),
                "profiles": list(case.profiles),
                "nbytes": case.nbytes,
                "dataset": case.dataset,
                "target": case.target,
                "cuda_only": case.cuda_only,
                "lacks": [package for package in case.packages if not _installed(package)],
                "to_download": to_download(case.dataset, source),
                "rule": case.rule,
                "threads": [defects.by_id[row].thread for row in case.rows],
                "bounds": dict(case.bounds),
                "limit_s": case.limit_s,
            }
            for case in profile(request["profile"])
        ]
    }


def _environment(request: Request) -> Answer:
    """The device that was asked for, made sure of, and what surrounds it."""
    from bnsuite.cases import implementation
    from bnsuite.measure import device, environment

    try:
        if name := implementation.named():
            implementation.load(name)
        found = device.resolve(request["device"])
        return {"refused": None, "device": found, "environment": environment.describe(found)}
    except (device.DeviceError, implementation.ImplementationError) as error:
        refused = str(error)
    except RuntimeError as error:  # a GPU that is busy, lost or in exclusive use says so when it is first touched
        refused = f"--device {request['device']}: {str(error).strip().splitlines()[0]}; see `nvidia-smi`"
    return {"refused": refused, "device": None, "environment": None}


def _start(_: Request) -> Answer:
    """Import what every measurement needs, so that no case is charged for it."""
    import torch  # noqa: F401

    return {}


def _stage(request: Request) -> Answer:
    """Make data sets into a folder."""
    from bnsuite.cases import data

    return {"missing": data.stage(request["datasets"], Path(request["folder"]), _folder(request))}


def _curve(request: Request) -> Answer:
    """One training, followed from its first epoch to its last."""
    import torch

    from bnsuite.cases import TrainCase, by_id, implementation
    from bnsuite.measure.follow import follow

    case = by_id[request["case"]]
    assert isinstance(case, TrainCase)
    if request["device"] != "cpu":
        torch.cuda.set_device(request["device"])
    try:
        curve, detail = follow(case, request["device"], request["seed"])
    except NotImplementedError as reason:
        if implementation.named() is None:
            raise
        return {"curve": None, "detail": None, "skipped": implementation.refusal(reason)}
    return {"curve": asdict(curve), "detail": asdict(detail), "skipped": None}


def _check(request: Request) -> Answer:
    """One check: what it saw, or why there is nothing to look at."""
    import torch

    from bnsuite.cases import CannotLookError, CheckCase, Subject, by_id, implementation

    case = by_id[request["case"]]
    assert isinstance(case, CheckCase)
    if request["device"] != "cpu":
        torch.cuda.set_device(request["device"])
    try:
        seen = [asdict(one) for one in case.look(Subject(request["device"]))]
    except CannotLookError as reason:
        return {"observations": [], "skipped": str(reason)}
    except NotImplementedError as reason:
        if implementation.named() is None:
            raise
        return {"observations": [], "skipped": implementation.refusal(reason)}
    return {"observations": seen, "skipped": None}


def _settle(request: Request) -> Answer:
    """Import what the cases need, an optimizer among it if there are trainings; get a heap; stay on the cores given."""
    import torch

    import bnsuite.cases  # noqa: F401
    from bnsuite.measure import bench
    from bnsuite.measure.settle import fill_heap

    x = torch.ones(2, requires_grad=True)
    torch.autograd.grad(2 * x, x, torch.ones(2))  # the first time it imports 0.5 s of sympy
    if request["trains"]:
        torch.optim.SGD([x], lr=0.0)  # the first one imports torch._dynamo, which takes longer than torch itself
    fill_heap(request["heap"])
    gc.collect()
    gc.freeze()  # what was imported stays: letting go of a case need not look through it again, 0.1 s each time
    bench.pin(request["cores"])
    return {"tunables": os.environ.get("GLIBC_TUNABLES")}


def _time_case(request: Request) -> Answer:
    """Returns one case's timing, as a pytest item makes it, or why there is nothing to be timed."""
    from bnsuite.cases import implementation
    from bnsuite.measure import timed_launch

    try:
        return {"timing": timed_launch.time_case(request["case"], request["device"]), "skipped": None}
    except NotImplementedError as reason:
        if implementation.named() is None:
            raise
        return {"timing": None, "skipped": implementation.refusal(reason)}


@cache
def _bench() -> Bench:
    from bnsuite.measure.bench import Bench

    return Bench()


def _ready(request: Request) -> Answer:
    """One side of a lockstep gets a case ready: about how long a step takes, or why there is nothing to be timed."""
    import torch

    from bnsuite.cases import implementation
    from bnsuite.measure.plant import Plant

    if request["device"] != "cpu":
        torch.cuda.set_device(request["device"])  # marks of time go to the current one
    try:
        ready = _bench().ready(request["case"], request["device"], request["seed"], Plant(**request["plant"]))
    except NotImplementedError as reason:
        if implementation.named() is None:
            raise
        return {"step_s": None, "cold": False, "examples": None, "skipped": implementation.refusal(reason)}
    return {**asdict(ready), "skipped": None}


def _move(request: Request) -> Answer:
    """The case that is ready, built anew elsewhere in memory."""
    _bench().move(request["shift"])
    return {}


def _block(request: Request) -> Answer:
    """Some rounds of the case that is ready."""
    samples_s, cpu_share = _bench().block(request["rounds"], request["iterations"], request["warm"])
    return {"samples_s": samples_s, "cpu_share": cpu_share}


def _peak(_: Request) -> Answer:
    """The most memory the case that is ready holds."""
    return {"memory": _bench().memory()}


def _done(_: Request) -> Answer:
    """Let go of the case; what the GPU went through since it was made ready."""
    gpu = _bench().done()
    return {"gpu": asdict(gpu) if gpu else None}


ANSWERS: dict[str, Callable[[Request], Answer]] = {
    "catalogue": _catalogue,
    "environment": _environment,
    "start": _start,
    "stage": _stage,
    "check": _check,
    "curve": _curve,
    "time_case": _time_case,
    "settle": _settle,
    "ready": _ready,
    "move": _move,
    "block": _block,
    "peak": _peak,
    "done": _done,
}


def main() -> None:
    """Answer requests until stdin ends."""
    cores.take()
    answers = Channel(os.dup(1), os.environ.pop(TOKEN_VARIABLE, None))
    os.dup2(2, 1)  # a print in the measured code must not look like an answer
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = answers.line({"done": ANSWERS[request["do"]](request)})
        except Exception as error:  # noqa: BLE001  # whatever the measured code raises is an answer
            traceback.print_exc()
            text = str(error).strip().splitlines()
            answer = answers.line({"failed": f"{type(error).__name__}: {text[0]}" if text else type(error).__name__})
        answers.write(answer)


if __name__ == "__main__":
    main()
