"""The trials of a self-test: comparisons with nothing changed, or with one fault in B's place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

TINY = "op/batch_norm1d/fwd+bwd/f32/nc/64x128"
LARGE = "op/batch_norm2d/fwd+bwd/f32/nchw/16x64x56x56"
TRAINING = "train/synthetic-mlp/bn/lr=0.01"
#: Variants of the tiny layer that only a GPU has.
_PLAIN = "not (native or compiled or cold or graph)"
#: All timed cases; trainings come with their curves, unless curves are all they have.
TIMED = "not (numerics/ or behaviour/ or ratio/ or sweep/ or batch-size/ or dropout/ or bn-parameters/)"
#: Trained and not timed, in the full profile: ten seeds of a few seconds.
CURVES = "train/batch-size/bn/batch=128"
HELD = 2 << 20


@dataclass(frozen=True)
class Plan:
    """One comparison: the fault in B, and the gate that must find it."""

    variant: str
    select: str
    injected: dict[str, float] = field(default_factory=dict)
    faulty: str | None = None
    #: The gate that is meant to find it; None where nothing is wrong.
    gate: str | None = None
    #: The profile that has its cases, if only one has.
    profile: str | None = None


def _slower(share: float) -> tuple[Plan, ...]:
    select = f"({TINY} or {LARGE} or {TRAINING}) and {_PLAIN}"
    return (Plan("three cases", select, injected={"slower": share}, gate="timing"),)


def _check(faulty: str, family: str) -> Plan:
    return Plan(faulty, family, faulty=faulty, gate="numerics")


#: The comparisons of each kind of trial. Of `single` one after the other, of others all count as one trial.
KINDS: dict[str, tuple[Plan, ...]] = {
    "night": (Plan("all timed cases", TIMED),),
    "single": tuple(Plan(case, f"{case} and {_PLAIN}") for case in (TINY, LARGE, TRAINING)),
    **{f"slower-{percent}%": _slower(percent / 100) for percent in (2, 3, 5, 10)},
    "holds": (Plan(LARGE, LARGE, injected={"bytes_held": HELD}, gate="memory"),),
    "faults": (
        _check("BiasedVariance", "numerics/running-statistics/step/batch_norm2d"),
        _check("InvertedMomentum", "numerics/running-statistics/step/batch_norm2d"),
        _check("FixedEpsilon", "numerics/reference/batch_norm2d/train/eps"),
        _check("UpdatesInEval", "numerics/running-statistics/eval/batch_norm2d"),
        Plan("DetachedStatistics", CURVES, faulty="DetachedStatistics", gate="convergence", profile="full"),
    ),
    "sound": (
        Plan("checks", "numerics/running-statistics/ or numerics/reference/batch_norm2d/train", faulty="Sound"),
        Plan("training", CURVES, faulty="Sound", profile="full"),
    ),
}
ROTATING = "single"
DEFAULT = ("single", "slower-5%", "holds", "faults", "sound")


#: The kinds that a workload of a user's own has, where none is named.
WORKLOAD_DEFAULT = (ROTATING, "slower-5%", "holds")


def of_workloads(names: Iterable[str]) -> dict[str, tuple[Plan, ...]]:
    """Returns the comparisons of each kind for a user's own workloads, by their names in ids (``workload/NAME``)."""
    selects = {name: f"^{name}/" for name in names}
    return {
        ROTATING: tuple(Plan(name, select) for name, select in selects.items()),
        **{
            kind: tuple(
                Plan(name, select, injected=plan.injected, gate=plan.gate)
                for name, select in selects.items()
                for plan in plans[:1]
            )
            for kind, plans in KINDS.items()
            if plans[0].injected
        },
    }


def planned(
    names: Sequence[str],
    trials: int,
    done: Counter[tuple[str, str]],
    kinds: Mapping[str, tuple[Plan, ...]] = KINDS,
) -> list[tuple[str, Plan]]:
    """Returns the trials still to be made of `trials` of each kind, in rounds, where `done` counts those made."""
    wanted: list[tuple[str, Plan]] = []
    for number in range(trials):
        for kind in names:
            plans = kinds[kind]
            wanted += [(kind, plan) for plan in ([plans[number % len(plans)]] if kind == ROTATING else plans)]
    left = Counter(done)
    missing = []
    for kind, plan in wanted:
        if left[kind, plan.variant] > 0:
            left[kind, plan.variant] -= 1
        else:
            missing.append((kind, plan))
    return missing
