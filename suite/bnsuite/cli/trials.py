"""What a selftest is made of: comparisons with nothing changed, or with one thing wrong in B's place."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import bnsuite

TINY = "op/batch_norm1d/fwd+bwd/f32/nc/64x128"
LARGE = "op/batch_norm2d/fwd+bwd/f32/nchw/16x64x56x56"
TRAINING = "train/synthetic-mlp/bn/lr=0.01"
#: Variants of the tiny layer that only a GPU has.
_PLAIN = "not (native or compiled or cold or graph)"
#: All that is timed; trainings come with their curves, unless these are all there is to them.
TIMED = "not (numerics/ or behaviour/ or relation/ or sweep/ or batch-size/ or dropout/ or bn-parameters/)"
#: Trained and not timed, in the full profile: ten seeds of a few seconds.
CURVES = "train/batch-size/bn/batch=128"
HELD = 2 << 20


@dataclass(frozen=True)
class Plan:
    """One comparison: what stands in B's place, and who is meant to find it."""

    variant: str
    select: str
    plant: dict[str, float] = field(default_factory=dict)
    faulty: str | None = None
    #: The gate that is meant to find it; None where nothing is wrong.
    gate: str | None = None
    #: Where it is in one profile only.
    profile: str | None = None


def _slower(share: float) -> tuple[Plan, ...]:
    select = f"({TINY} or {LARGE} or {TRAINING}) and {_PLAIN}"
    return (Plan("three cases", select, plant={"slower": share}, gate="timing"),)


def _check(faulty: str, family: str) -> Plan:
    return Plan(faulty, family, faulty=faulty, gate="numerics")


#: What each kind of trial is made of. Of `single` one after the other, of others all count as one trial.
KINDS: dict[str, tuple[Plan, ...]] = {
    "night": (Plan("all timed cases", TIMED),),
    "single": tuple(Plan(case, f"{case} and {_PLAIN}") for case in (TINY, LARGE, TRAINING)),
    **{f"slower-{percent}%": _slower(percent / 100) for percent in (2, 3, 5, 10)},
    "holds": (Plan(LARGE, LARGE, plant={"bytes_held": HELD}, gate="memory"),),
    "faults": (
        _check("BiasedVariance", "numerics/stats/step/batch_norm2d"),
        _check("InvertedMomentum", "numerics/stats/step/batch_norm2d"),
        _check("FixedEpsilon", "numerics/ref/batch_norm2d/train/eps"),
        _check("UpdatesInEval", "numerics/stats/eval/batch_norm2d"),
        Plan("DetachedStatistics", CURVES, faulty="DetachedStatistics", gate="convergence", profile="full"),
    ),
    "sound": (
        Plan("checks", "numerics/stats/ or numerics/ref/batch_norm2d/train", faulty="Sound"),
        Plan("training", CURVES, faulty="Sound", profile="full"),
    ),
}
ROTATING = "single"
#: What a trial's verdict comes from: trials of other code say nothing of this.
CODE = (
    *("launch/lockstep.py", "launch/turns.py", "launch/quiet.py", "measure/interleaved.py", "measure/timed_case.py"),
    *(
        "measure/warm_up.py",
        "measure/fault_injection.py",
        "record/lockstep.py",
        "judge/lockstep.py",
        "judge/statistics.py",
    ),
    "cli/rounds.py",
)
DEFAULT = ("single", "slower-5%", "holds", "faults", "sound")


def planned(names: Sequence[str], trials: int, done: Counter[tuple[str, str]]) -> list[tuple[str, Plan]]:
    """What is still to be measured of `trials` trials of each kind, in rounds, where `done` counts what was."""
    wanted: list[tuple[str, Plan]] = []
    for number in range(trials):
        for kind in names:
            plans = KINDS[kind]
            wanted += [(kind, plan) for plan in ([plans[number % len(plans)]] if kind == ROTATING else plans)]
    left = Counter(done)
    missing = []
    for kind, plan in wanted:
        if left[kind, plan.variant] > 0:
            left[kind, plan.variant] -= 1
        else:
            missing.append((kind, plan))
    return missing


def method() -> str:
    """A few letters that differ when the code differs that times and decides; comments and docstrings don't count.

    Another version of Python may have other letters for the same code.
    """
    found = sha256()
    for name in CODE:
        found.update(says((Path(bnsuite.__file__).parent / name).read_text(encoding="utf-8")).encode())
    return found.hexdigest()[:12]


def says(text: str) -> str:
    """What a module's `text` does: its syntax tree without docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree)
