"""The amount of measuring of each profile, and the checked options of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bnsuite.launch.process.isolation import cores
from bnsuite.record import devices
from bnsuite.record.errors import InputError
from bnsuite.record.functions import ROLES
from bnsuite.record.schema import PlannedCase, RunOptions
from bnsuite.record.select import matcher


@dataclass(frozen=True)
class Plan:
    """The launches in which a case is timed, and the seeds of a training that are recorded."""

    launches: int
    seeds: int


#: Message for a -k that chooses only cases which a comparison leaves out.
NOT_COMPARED = "matches ratios only, which compare two steps of one environment; name other cases"

#: How many more launches are made for cases that were disturbed, or for launches that were lost.
MAX_REPEATS = 3

PLANS = {"quick": Plan(launches=3, seeds=3), "full": Plan(launches=10, seeds=10)}
#: The same on a GPU, whose full profile has ten minutes: see docs/explanation/planning.md for the choice.
GPU_PLANS = {"quick": Plan(launches=3, seeds=3), "full": Plan(launches=3, seeds=5)}
#: A training of more steps per seed than this is recorded with fewer seeds on a GPU.
LONG_TRAINING_STEPS, LONG_TRAINING_SEEDS = 5_000, 3
#: The launches on a GPU of cases that the quick profile does not have: both must be undisturbed, or are repeated.
FULL_LAUNCHES = 2


def on_device(options: RunOptions, device: str) -> RunOptions:
    """Returns the options of a run on `device`: on a GPU with its own launches and seeds, unless others were chosen."""
    usual = PLANS.get(options.profile)
    if device == "cpu" or usual is None or (options.launches, options.seeds) != (usual.launches, _seeds(usual)):
        return options
    plan = GPU_PLANS[options.profile]
    return options.model_copy(update={"launches": plan.launches, "seeds": _seeds(plan)})


def with_limits(case: PlannedCase, options: RunOptions, device: str) -> PlannedCase:
    """Returns a case with its own numbers of seeds and launches, where they are not the run's.

    On a GPU a long training has fewer seeds, and a case that the quick profile lacks has fewer launches.
    """
    limits: dict[str, int] = {}
    if device == "cpu":
        return case
    if case.steps.get("convergence", 0) > LONG_TRAINING_STEPS and len(options.seeds) > LONG_TRAINING_SEEDS:
        limits["most_seeds"] = LONG_TRAINING_SEEDS
    if "timing" in case.gates and "quick" not in case.profiles and options.launches > FULL_LAUNCHES:
        limits["most_launches"] = FULL_LAUNCHES
    return case.model_copy(update=limits) if limits else case


#: Processes that share a GPU for checks, and for trainings.
GPU_CHECKERS, GPU_TRAINERS = 8, 8
#: The memory of a GPU that each of them may need: its context, its libraries, and what it works on.
GPU_WORKER_BYTES = 4 << 30
#: Families of checks that fill a GPU's memory: no two of one family run beside one another.
LARGE = ("large-tensor",)


def gpu_workers(most: int, slots: int, free_bytes: int) -> int:
    """Returns how many processes share a GPU: no more than have cores (`slots`), and free memory there."""
    return max(1, min(most, slots, free_bytes // GPU_WORKER_BYTES))


def turn(case: PlannedCase, device: str) -> str:
    """Returns the name of the turn that a check has to wait for; empty if it may run beside any other."""
    family = case.labels.get("family", "")
    return family if device != "cpu" and family in LARGE else ""


def _seeds(plan: Plan) -> tuple[int, ...]:
    return tuple(range(plan.seeds))


def run_options(
    *,
    device: str,
    profile: str,
    select: str | None,
    threads: int,
    timeout_s: float,
    implementation: str | None,
    cases: Iterable[str] = (),
    workloads: Iterable[str] = (),
    environment: str = ".",
    supports: Mapping[str, tuple[str, ...]] | None = None,
    functions: Mapping[str, str] | None = None,
    config: str | None = None,
) -> RunOptions:
    """Returns the options of a run, checked as far as can be without starting anything; raises InputError."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise InputError("started by torchrun: bnsuite starts its ranks itself; run it without torchrun")
    if device == devices.ALL:
        raise InputError(f"--device {device}: `bnsuite run` alone measures every GPU; choose {devices.NAMES}")
    if not devices.is_asked(device):
        raise InputError(
            f"--device {device}: no such device; choose {devices.NAMES} (`bnsuite run` also takes {devices.ALL})"
        )
    if select is not None:
        matcher(select)
    given = len(cores())
    if threads > given:
        raise InputError(f"--threads {threads}: there are {given} cores for this process; give it no more threads")
    plan = PLANS[profile]
    if supports is not None and implementation is None:
        raise InputError("--supports: there is no implementation to describe; name one with --impl (ab: --impl-b)")
    named = {role: _absolute(name, ROLES[role].option) for role, name in (functions or {}).items()}
    return RunOptions(
        device=device,
        profile=profile,
        select=select,
        launches=plan.launches,
        seeds=_seeds(plan),
        threads=threads,
        timeout_s=timeout_s,
        implementation=_absolute(implementation),
        cases=case_files(cases),
        workloads=case_files(workloads, "--workload"),
        environment=environment,
        supports=None if supports is None else dict(supports),
        config=config,
    ).model_copy(update=named)


def case_files(texts: Iterable[str], given_as: str = "--cases") -> tuple[str, ...]:
    """Returns files of cases as they are found from any folder, each once.

    Each text is ``FILE.py`` or ``FILE.py:NAME``, or several of them separated by colons. Raises InputError for a file
    that is not there, and for anything else; `given_as` is the option or the variable that it names.
    """
    found: list[str] = []
    for text in texts:
        named = True
        for part in filter(None, text.split(":")):
            if part.endswith(".py") and Path(part).is_file():
                found.append(str(Path(part).resolve()))
                named = False
            elif part.endswith(".py"):
                raise InputError(f"{given_as} {text}: there is no file {part}")
            elif part.isidentifier() and not named:
                found[-1], named = f"{found[-1]}:{part}", True
            else:
                advice = "write path/to/file.py or path/to/file.py:NAME"
                raise InputError(f"{given_as} {text}: {part!r} is no file; {advice}")
    return tuple(dict.fromkeys(found))


def _absolute(named: str | None, given_as: str = "implementation") -> str | None:
    """Returns an implementation or function as it is found from any folder; InputError if it is no ``module:name``."""
    if named is None:
        return None
    place, _, factory = named.rpartition(":")
    if not place or not factory.isidentifier():
        raise InputError(f"{given_as} {named}: write it like package.module:factory or path/to/file.py:factory")
    if not place.endswith(".py"):
        return named
    if not Path(place).is_file():
        raise InputError(f"{given_as} {named}: there is no file {place}")
    return f"{Path(place).resolve()}:{factory}"
