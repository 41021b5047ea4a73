"""Queries to the inner half before anything is measured: the cases of a profile, and the environment of a process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bnsuite.launch.datasets import absolute
from bnsuite.launch.environments import MIN_TORCH, Environment, EnvironmentUnavailableError, Here
from bnsuite.launch.plan import PLANS
from bnsuite.launch.process.child import ChildError
from bnsuite.launch.process.messages import (
    Catalogue,
    DevicesAnswer,
    EnvironmentAnswer,
    FoundDevice,
    GpuAnswer,
    GpuCondition,
    KernelAnswer,
)
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.launch.process.scratch import ScratchError, scratch_folder
from bnsuite.launch.process.worker import START_UP, START_UP_S, TIMEOUT, RequestFailedError, Worker
from bnsuite.record.errors import InputError, NotMeasuredError
from bnsuite.record.functions import ROLES
from bnsuite.record.schema import EnvironmentInfo, PlannedCase
from bnsuite.record.select import matcher

#: The limit for NVML's account of a GPU, beside a container that starts.
GPU_S = 30.0

_OLDEST = ".".join(map(str, MIN_TORCH))


def catalogue(
    profile: str,
    select: str | None,
    data: Path | None,
    worker: Worker | None = None,
    *,
    case_files: tuple[str, ...] = (),
    workloads: tuple[str, ...] = (),
) -> list[PlannedCase]:
    """Returns the cases of a profile that `select` (an expression as for -k) matches.

    They are those of the worker's environment, this interpreter by default, and those its implementation has a part
    in; images are looked for in `data`. Raises InputError if no case matches, or if a file of cases or a plug-in is
    unusable.
    """
    if worker is None:
        with _worker("catalogue", Here(), cases=case_files, workloads=workloads) as own:
            return catalogue(profile, select, data, own)
    match = matcher(select) if select is not None else lambda _: True

    def cases_of(name: str) -> tuple[PlannedCase, ...]:
        request = {"do": "catalogue", "profile": name, "source": absolute(data)}
        answer = worker.ask(request, Catalogue, START_UP_S, START_UP)
        if answer.refused is not None:
            raise InputError(answer.refused)
        return answer.cases

    try:
        with _naming(worker.environment):
            cases = cases_of(profile)
            chosen = [case for case in cases if match(case.id)]
            if not chosen:
                others = {name: sum(match(case.id) for case in cases_of(name)) for name in PLANS if name != profile}
                raise InputError(_no_match(select, profile, len(cases), others))
    finally:
        worker.end()
    return chosen


def _no_match(select: str | None, profile: str, cases: int, elsewhere: dict[str, int]) -> str:
    """Returns the message that -k chooses no case, with the profile that has one, or the way to list all."""
    message = f"-k {select!r} matches none of the {cases} cases of the {profile} profile"
    others = [f"{count} of the {name} one: --profile {name}" for name, count in elsewhere.items() if count]
    return f"{message}, but {others[0]}" if others else f"{message}; `bnsuite list` shows all there are"


def ask_environment(
    device: str, worker: Worker, timeout_s: float = START_UP_S, *, goes_on: bool = False
) -> tuple[str, EnvironmentInfo]:
    """Returns the device that `device` means to the worker, and the worker's environment.

    The worker is ended, unless it answers and `goes_on`. An implementation is imported within `timeout_s`. Raises
    InputError if either can't be had, and what the worker raises where that is of this interpreter; of another
    environment it is EnvironmentUnavailableError.
    """
    with _naming(worker.environment):
        try:
            found, info = _ask(device, worker, timeout_s, goes_on=goes_on)
        except ChildError as error:
            if not _is_to_blame(device, worker):
                raise
            its = worker.options
            blamed = [f"implementation {its.implementation}"] if its.implementation else []
            blamed += [f"{ROLES[role].option} {name}" for role, name in its.functions.items()]
            raise InputError(f"{', '.join(blamed)}: can't be imported: {error}; look at its import") from error
        version = info.packages.get("torch", "")
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers and (int(numbers[1]), int(numbers[2])) < MIN_TORCH:
            raise worker.environment.unavailable(
                f"holds torch {version}; what is judged must be torch {_OLDEST} or newer"
            )
        if worker.environment.devices_apart:
            _check_gpu(worker.environment, found, info)
    return found, worker.environment.described(info)


def _check_gpu(environment: Environment, device: str, info: EnvironmentInfo) -> None:
    """Raises EnvironmentUnavailableError if `device` is another GPU inside than on this machine, by their UUIDs.

    Where NVML does not answer on either side nothing is compared.
    """
    inside = info.gpu.nvml.uuid if info.gpu is not None and info.gpu.nvml is not None else None
    if inside is None:
        return
    gpu = ask_condition(device)
    outside = gpu.uuid if gpu is not None else None
    # The forms "GPU-..." and "MIG-..." name different things: a board and a slice of one.
    if outside is not None and outside.partition("-")[0] == inside.partition("-")[0] and outside != inside:
        raise environment.unavailable(
            f"its {device} is {inside}, and this machine's is {outside}; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name "
            "the GPU by its UUID with CUDA_VISIBLE_DEVICES"
        )


def ask_once(environment: Environment, device: str, threads: int = 1) -> tuple[str, EnvironmentInfo]:
    """Returns the same of an environment, with so many threads, from a worker that is started for it."""
    try:
        environment.prepare()
        with _worker("environment", environment, threads, device=device) as worker:
            return ask_environment(device, worker)
    finally:
        environment.close()


def ask_devices(environment: Environment) -> tuple[FoundDevice, ...]:
    """Returns every GPU that an environment sees; InputError if there is none, or if it can't be had."""
    try:
        environment.prepare()
        with _naming(environment), _worker("devices", environment, device="cuda") as worker:
            answer = worker.ask({"do": "devices"}, DevicesAnswer, START_UP_S, START_UP)
    finally:
        environment.close()
    if answer.refused is not None:
        raise InputError(answer.refused)
    return answer.devices


def ask_gpu(index: int, timeout_s: float) -> GpuAnswer:
    """Returns NVML's account of the GPU that CUDA numbers `index`, by this interpreter; torch is not imported.

    Raises NotMeasuredError if no answer comes within `timeout_s`, and ScratchError.
    """
    with _worker("gpu", Here(), device=f"cuda:{index}") as worker:
        return worker.ask({"do": "gpu", "index": index}, GpuAnswer, timeout_s, "the limit for NVML")


def ask_condition(device: str) -> GpuCondition | None:
    """Returns the state of the GPU "cuda:N" by NVML on this machine; None where NVML does not answer."""
    try:
        return ask_gpu(int(device.partition(":")[2] or 0), GPU_S).gpu
    except (NotMeasuredError, ScratchError):
        return None


def ask_kernel(device: str, timeout_s: float) -> KernelAnswer:
    """Returns how a first kernel goes on `device`, by this interpreter.

    Raises NotMeasuredError if no answer comes within `timeout_s`, and ScratchError.
    """
    with _worker("kernel", Here(), device=device) as worker:
        return worker.ask({"do": "kernel", "device": device}, KernelAnswer, timeout_s, "the limit for a first kernel")


def _ask(device: str, worker: Worker, timeout_s: float, *, goes_on: bool = False) -> tuple[str, EnvironmentInfo]:
    limits = (START_UP_S, START_UP) if timeout_s >= START_UP_S else (timeout_s, TIMEOUT)
    try:
        answer = worker.ask({"do": "environment", "device": device}, EnvironmentAnswer, *limits)
    finally:
        if not goes_on:
            worker.end()
    if answer.device is None or answer.environment is None:
        raise InputError(answer.refused or f"--device {device}: refused without a reason")
    return answer.device, answer.environment


def _is_to_blame(device: str, worker: Worker) -> bool:
    """Returns True if the worker's environment answers without the user's layer and functions, though not with them."""
    if not (worker.options.implementation or worker.options.functions) or worker.closed:
        return False
    options = replace(worker.options, label=f"{worker.options.label}-alone", implementation=None, functions={})
    try:
        _ask(device, Worker(options, worker.environment), START_UP_S)
    except (InputError, ChildError, RequestFailedError):
        return False
    return True


@contextmanager
def _naming(environment: Environment) -> Iterator[None]:
    """Turns errors of another environment than this interpreter into EnvironmentUnavailableError."""
    if environment.name == Here.NAME:
        yield
        return
    hint = f"; {environment.hint}" if environment.hint else ""
    try:
        yield
    except (EnvironmentUnavailableError, ScratchError):
        raise
    except RequestFailedError as error:
        if str(error).startswith("ModuleNotFoundError: No module named 'torch'"):
            better = environment.hint or f"name one that holds torch {_OLDEST} or newer"
            raise environment.unavailable(f"torch is not installed there; {better}") from None
        raise environment.unavailable(f"torch does not start there: {error}{hint}") from None
    except ChildError as error:
        raise environment.unavailable(f"no worker starts there: {error}{hint}") from None
    except InputError as error:
        raise environment.unavailable(str(error)) from None


@contextmanager
def _worker(
    label: str,
    environment: Environment,
    threads: int = 1,
    *,
    device: str = "cpu",
    cases: tuple[str, ...] = (),
    workloads: tuple[str, ...] = (),
) -> Iterator[Worker]:
    """A worker for one query, with a scratch folder of its own."""
    with scratch_folder() as name:
        scratch = Path(name)
        options = WorkerOptions(label, scratch, scratch, threads, device=device, cases=cases, workloads=workloads)
        worker = Worker(options, environment)
        try:
            yield worker
        finally:
            worker.end()
