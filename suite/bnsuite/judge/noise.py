"""The noise floor of a host: which change in time a comparison on it can show, and after how many launches.

An interpreter is compared with itself. The deviation of its launches, moderated as that of a comparison is, gives the
number of launches after which a true change would be flagged and then confirmed, each with probability POWER.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log1p, sqrt

from bnsuite.judge.interleaved import (
    EVERY,
    FIRST_LOOK,
    FLOOR,
    LOOK_ALPHA,
    MIN_DEVIATION,
    PRIOR_LAUNCHES,
    RUN_ALPHA,
    TRIMMED,
    moderated,
)
from bnsuite.judge.statistics import normal_quantile, t_quantile
from bnsuite.record.host import DetectableChange, NoiseFloor

#: The changes that are asked about.
CHANGES = (0.01, 0.03, 0.05)
#: The probability that a true change is flagged by so many launches, and that it is confirmed by so many.
POWER = 0.9
#: The deviation of fewer launches tells nothing.
MIN_LAUNCHES = 3


def noise_floor(
    case: str, device: str, values: Sequence[float], launch_s: float, most_launches: int
) -> NoiseFloor | None:
    """Returns what a comparison of one case could show here; None if there are too few launches to tell.

    `values` are those of an A/A comparison's launches (log scale), `launch_s` the seconds that each took.
    """
    if len(values) < MIN_LAUNCHES:
        return None
    deviation = max(MIN_DEVIATION, moderated(values).error * sqrt(len(values)))
    changes = []
    for change in CHANGES:
        launches = needed_launches(change, deviation, most_launches)
        changes.append(
            DetectableChange(change=change, launches=launches, needs_s=launches * launch_s if launches else None)
        )
    return NoiseFloor(
        case=case,
        device=device,
        launches=len(values),
        deviation=deviation,
        launch_s=launch_s,
        most_launches=most_launches,
        changes=tuple(changes),
    )


def needed_launches(change: float, deviation: float, most: int) -> int | None:
    """Returns the launches, of screening and confirmation, that show a change of one case where launches deviate so.

    None if either kind would need more than `most`.
    """
    looks = range(FIRST_LOOK, most + 1, EVERY)
    alpha = min(LOOK_ALPHA, RUN_ALPHA / (len(looks) * LOOK_ALPHA) / len(looks))
    screening = next((count for count in looks if _shows(change, deviation, count, LOOK_ALPHA, PRIOR_LAUNCHES)), None)
    confirming = next((count for count in looks if _shows(change, deviation, count, alpha, 0)), None)
    return None if screening is None or confirming is None else screening + confirming


def _shows(change: float, deviation: float, count: int, alpha: float, prior: int) -> bool:
    """Returns if the mean of `count` launches lies beyond the floor, and beyond chance, with probability POWER."""
    error = deviation / sqrt(count)
    freedom = count - 2 * (count // TRIMMED) - 1 + prior
    limit = max(log1p(FLOOR), t_quantile(freedom, 1 - alpha) * error)
    return log1p(change) - normal_quantile(POWER) * error > limit
