"""The room that one page has: the more cases there are, the less is drawn of each."""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes that samples may take, all pictures together, and of one sample in a picture.
_SAMPLES, _SAMPLE = 400_000, 7
MIN_MARKS, MAX_MARKS = 5, 60
#: More launches than these have no row each.
MAX_LAUNCH_ROWS = 4000
#: Observations shown of a check, by the number of cases: up to so many cases, so many observations.
MAX_OBSERVATIONS = 10
_OBSERVATIONS = ((400, MAX_OBSERVATIONS), (1500, 5))
MIN_OBSERVATIONS = 2
#: Seeds of all trainings that are drawn.
MAX_SEEDS = 500


@dataclass(frozen=True)
class Budget:
    """What is drawn of one case."""

    #: Samples of one strip.
    marks: int
    #: Each launch has a row.
    rows: bool
    #: Observations that are as expected.
    observations: int
    seeds: int


def budget(cases: int, strips: int, trainings: int) -> Budget:
    """Returns what there is room for, given the numbers of cases, of launches on either side, and of trainings."""
    most = next((number for up_to, number in _OBSERVATIONS if cases <= up_to), MIN_OBSERVATIONS)
    return Budget(
        marks=min(MAX_MARKS, max(MIN_MARKS, _SAMPLES // (_SAMPLE * max(1, strips)))),
        rows=strips <= MAX_LAUNCH_ROWS,
        observations=most,
        seeds=max(1, MAX_SEEDS // max(1, trainings)),
    )
