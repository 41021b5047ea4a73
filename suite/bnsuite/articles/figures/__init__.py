"""The pictures the articles draw, of what a run measured. matplotlib lives here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bnsuite.articles.evidence import Evidence
from bnsuite.articles.figures import answers, curves, layers, sweeps

#: A new picture is a function in one of these modules and its name here.
PICTURES = (
    curves.losses,
    sweeps.learning_rates,
    sweeps.initial_weights,
    sweeps.batch_sizes,
    answers.by_class,
    answers.fitted,
    layers.over_epochs,
    layers.stopped_units,
    layers.animated,
)


def draw(evidence: Evidence, folder: Path) -> Iterator[Path]:
    """Draw what the run has trainings for; yields each file that was written into `folder`."""
    for picture in PICTURES:
        yield from picture(evidence, folder)
