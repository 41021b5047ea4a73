"""What a calibration of a GPU leaves to a person: deviations that no limit settles, failures, and pins made of both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from glob import escape
from math import floor, inf, log10

from bnsuite.judge.checks import DRIFT, deviating
from bnsuite.record.calibration import CalibratedLimit, Deviation, Failure
from bnsuite.record.lines import kind_of_device, torch_of
from bnsuite.record.pins import Pin
from bnsuite.record.schema import Run, Status


def deviations(
    runs: Sequence[Run], pins: Collection[Pin], limits: Mapping[tuple[str, str], CalibratedLimit] | None = None
) -> list[Deviation]:
    """Returns what is wrong by more than a calibration can settle, and not pinned: each once, of the last run."""
    known = limits or {}
    found: dict[tuple[str, str], Deviation] = {}
    for run in runs:
        for result in run.cases:
            for one in deviating(result):
                settled = known.get((result.id, one.what))
                if settled is not None and not isinstance(one.value, str) and one.value <= settled.limit:
                    continue
                if any(pin.covers(run, result.id, one) for pin in pins):
                    continue
                found[result.id, one.what] = Deviation(
                    case=result.id,
                    what=one.what,
                    value=one.value,
                    limit=one.limit,
                    expected=one.expected,
                    rule=result.case.rule,
                    torch=torch_of(run),
                    run=run.started,
                )
    return list(found.values())


def failures(runs: Iterable[Run]) -> list[Failure]:
    """Returns the cases that failed, each once, of the last run."""
    found = {
        (result.id, gate): Failure(
            case=result.id, gate=gate, reason=outcome.reason or "no reason given", run=run.started
        )
        for run in runs
        for result in run.cases
        for gate, outcome in result.outcomes.items()
        if outcome.status is Status.FAILED
    }
    return list(found.values())


def pin_of(deviation: Deviation, run: Run, why: str) -> Pin:
    """Returns a deviation of `run` as a pin, for its kind of device and its release of torch.

    A number may be DRIFT times as large; a word is that word.
    """
    release = ".".join(deviation.torch.partition("+")[0].split(".")[:2])
    value = deviation.value
    return Pin.model_validate(
        {
            "case": escape(deviation.case),
            "what": escape(deviation.what),
            "device": kind_of_device(run),
            "torch": release,
            "value": value if isinstance(value, str) else rounded_up(DRIFT * value),
            "reason": why,
        }
    )


def rounded_up(value: float, digits: int = 2) -> float:
    """Returns a number of so many digits that is no smaller."""
    if not 0 < abs(value) < inf:
        return value
    near = float(f"{value:.{digits - 1}e}")
    step = 10.0 ** (floor(log10(abs(value))) - digits + 1)
    return near if near >= value else float(f"{value + step:.{digits - 1}e}")
