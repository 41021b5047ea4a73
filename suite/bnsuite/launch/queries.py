"""What the inner half is asked before anything is measured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bnsuite.launch.environments import MIN_TORCH, Environment, Here
from bnsuite.launch.plan import PLANS
from bnsuite.launch.process.child import ChildError
from bnsuite.launch.process.messages import Catalogue, DatasetsAnswer, EnvironmentAnswer
from bnsuite.launch.process.scratch import scratch_folder
from bnsuite.launch.process.worker import RequestFailedError, Worker
from bnsuite.record.errors import InputError
from bnsuite.record.schema import EnvironmentInfo, PlannedCase
from bnsuite.record.select import matcher

#: Answering where it is or what it holds takes a process no longer than this, imports included.
ANSWER_S = 180.0
#: A download may be among it.
STAGE_S = 900.0

_LIMIT = "the limit for starting"
_OLDEST = ".".join(map(str, MIN_TORCH))


def catalogue(
    profile: str,
    select: str | None,
    data: Path | None,
    implementation: str | None = None,
    site: Environment | None = None,
) -> list[PlannedCase]:
    """The cases of a profile that `select` (an expression as for -k) matches; InputError if there are none, or
    if a file of cases or a plug-in can't be used.

    Of an `implementation`, those that it has a part in; `site` says what is installed, this interpreter by default.
    """
    match = matcher(select) if select is not None else lambda _: True
    site = site or Here()
    with _worker("catalogue", implementation, site) as worker, _named(site.name, site.hint):

        def found(where: str) -> tuple[PlannedCase, ...]:
            request = {"do": "catalogue", "profile": where, "source": _text(data)}
            answer = worker.ask(request, Catalogue, ANSWER_S, _LIMIT)
            if answer.refused is not None:
                raise InputError(answer.refused)
            return answer.cases

        cases = found(profile)
        chosen = [case for case in cases if match(case.id)]
        if not chosen:
            elsewhere = {name: sum(match(case.id) for case in found(name)) for name in PLANS if name != profile}
            raise InputError(_nothing_matches(select, profile, len(cases), elsewhere))
    return chosen


def _nothing_matches(select: str | None, profile: str, cases: int, elsewhere: dict[str, int]) -> str:
    """That -k chooses no case, and where what it means is."""
    said = f"-k {select!r} matches none of the {cases} cases of the {profile} profile"
    others = [f"{count} of the {name} one: --profile {name}" for name, count in elsewhere.items() if count]
    return f"{said}, but {others[0]}" if others else f"{said}; `bnsuite list` shows all there are"


def ask_place(device: str, worker: Worker) -> tuple[str, EnvironmentInfo]:
    """The device that `device` means here and what surrounds it; InputError, with the reason, if there is none."""
    try:
        place = worker.ask({"do": "environment", "device": device}, EnvironmentAnswer, ANSWER_S, _LIMIT)
    finally:
        worker.end()
    if place.device is None or place.environment is None:
        raise InputError(place.refused or f"--device {device}: refused without a reason")
    return place.device, place.environment


def ask_environment(device: str, worker: Worker, name: str, hint: str = "") -> tuple[str, EnvironmentInfo]:
    """As `ask_place`, of the environment that the user wrote as `name`; InputError names it if it can't be judged.

    This interpreter needs no name: its errors are told as they are. `hint` says what helps where nothing starts.
    """
    with _named(name, hint):
        found, environment = ask_place(device, worker)
    version = environment.packages.get("torch", "")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < MIN_TORCH:
        raise InputError(f"{name}: holds torch {version}; what is judged must be torch {_OLDEST} or newer")
    return found, environment


@contextmanager
def _named(name: str, hint: str) -> Iterator[None]:
    """Turn what another environment fails on into an InputError that names it."""
    if name == Here.NAME:
        yield
        return
    try:
        yield
    except RequestFailedError as error:
        if str(error).startswith("ModuleNotFoundError: No module named 'torch'"):
            hold = f"name one that holds torch {_OLDEST} or newer"
            raise InputError(f"{name}: torch is not installed there; {hint or hold}") from None
        raise InputError(f"{name}: torch does not start there: {error}" + (f"; {hint}" if hint else "")) from None
    except ChildError as error:
        raise InputError(f"{name}: no worker starts there: {error}" + (f"; {hint}" if hint else "")) from None
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(name) else f"{name}: {error}") from None


def ask_stage(names: Iterable[str], folder: Path, data: Path | None, worker: Worker) -> dict[str, str]:
    """Make the data sets `names` into `folder`, images from `data`; returns what can't be had, and why."""
    request = {"do": "stage", "datasets": list(names), "folder": str(folder), "source": _text(data)}
    try:
        return worker.ask(request, DatasetsAnswer, STAGE_S, "the limit for making the data").missing
    finally:
        worker.end()


def _text(folder: Path | None) -> str | None:
    return str(folder.resolve()) if folder else None


def ask_here(device: str) -> tuple[str, EnvironmentInfo]:
    """As `ask_place`, of this interpreter."""
    with _worker("environment") as worker:
        return ask_place(device, worker)


@contextmanager
def _worker(name: str, implementation: str | None = None, site: Environment | None = None) -> Iterator[Worker]:
    """A worker for one question, which needs no data and times nothing."""
    with scratch_folder() as scratch:
        folder = Path(scratch)
        worker = Worker(
            *(folder, name),
            threads=1,
            stage=folder,
            cores=[],
            torch_first=False,
            implementation=implementation,
            site=site,
        )
        try:
            yield worker
        finally:
            worker.end()
