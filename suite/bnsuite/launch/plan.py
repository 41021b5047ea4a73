"""The amount of measuring of each profile, and the checked options of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bnsuite.launch.process.isolation import cores
from bnsuite.record import devices
from bnsuite.record.errors import InputError
from bnsuite.record.schema import RunOptions
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


def run_options(
    *,
    device: str,
    profile: str,
    select: str | None,
    threads: int,
    timeout_s: float,
    implementation: str | None,
    cases: Iterable[str] = (),
    environment: str = ".",
    supports: Mapping[str, tuple[str, ...]] | None = None,
) -> RunOptions:
    """Returns the options of a run, checked as far as can be without starting anything; raises InputError."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise InputError("started by torchrun: bnsuite starts its ranks itself; run it without torchrun")
    if device == devices.ALL:
        raise InputError(f"--device {device}: `bnsuite run` alone measures every GPU; choose {devices.NAMES}")
    if not devices.is_asked(device):
        raise InputError(f"--device {device}: no such device; choose {devices.NAMES}")
    if select is not None:
        matcher(select)
    given = len(cores())
    if threads > given:
        raise InputError(f"--threads {threads}: there are {given} cores for this process; give it no more threads")
    plan = PLANS[profile]
    if supports is not None and implementation is None:
        raise InputError("--supports: there is no implementation to describe; name one with --impl (ab: --impl-b)")
    return RunOptions(
        device=device,
        profile=profile,
        select=select,
        launches=plan.launches,
        seeds=tuple(range(plan.seeds)),
        threads=threads,
        timeout_s=timeout_s,
        implementation=_absolute(implementation),
        cases=case_files(cases),
        environment=environment,
        supports=None if supports is None else dict(supports),
    )


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


def _absolute(implementation: str | None) -> str | None:
    """Returns an implementation as it is found from any folder; InputError if it is no ``module:factory``."""
    if implementation is None:
        return None
    place, _, factory = implementation.rpartition(":")
    if not place or not factory.isidentifier():
        raise InputError(
            f"implementation {implementation}: write it like package.module:factory or path/to/file.py:factory"
        )
    if not place.endswith(".py"):
        return implementation
    if not Path(place).is_file():
        raise InputError(f"implementation {implementation}: there is no file {place}")
    return f"{Path(place).resolve()}:{factory}"
