"""The noise floor: this interpreter compared with itself on one small layer, within a budget."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bnsuite.experiments.ab import Compare, ComparisonRequest
from bnsuite.experiments.adaptive import MAX_LAUNCHES
from bnsuite.judge import blocks
from bnsuite.judge.noise import noise_floor
from bnsuite.launch.environments import Here
from bnsuite.launch.plan import run_options
from bnsuite.record.folder import ResultsFolder
from bnsuite.record.host import NoiseFloor

#: A small layer, which every device times: short steps show the host's noise.
CASE = "op/batch_norm1d/fwd+bwd/f32/nc/64x128"
#: Seconds for the measuring; the two processes start beforehand.
BUDGET_S = 30.0


@dataclass(frozen=True)
class NoiseResult:
    """The noise floor, or None with the reason why it can't be told: too few launches, or what ended them early."""

    floor: NoiseFloor | None
    #: Launches that were made, and those of them that had a core for themselves.
    made: int
    undisturbed: int
    error: str | None = None


def measure_noise(
    folder: Path, compare: Compare, *, device: str, threads: int, baselines: Path, budget_s: float = BUDGET_S
) -> NoiseResult:
    """Compare this interpreter with itself in `folder`, within `budget_s`; raises what a comparison raises."""
    options = run_options(
        device=device, profile="quick", select=CASE, threads=threads, timeout_s=60.0, implementation=None
    )
    result = compare(
        ComparisonRequest(
            a=Here.NAME,
            b=Here.NAME,
            options=(options, options),
            folder=ResultsFolder(folder),
            data=None,
            baselines=baselines,
            budget_s=budget_s,
        )
    )
    case = next((one for one in result.times.cases if one.id == CASE), None)
    values = blocks.values(case) + blocks.values(case, confirms=True) if case else []
    made = len(case.launches) if case else 0
    floor = noise_floor(CASE, result.b.device, values, result.b.wall_s / max(1, made), MAX_LAUNCHES["full"])
    return NoiseResult(floor, made, len(values), result.b.ended_by)
