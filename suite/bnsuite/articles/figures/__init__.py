"""The pictures of the articles, drawn from a run. matplotlib is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bnsuite.articles.evidence import Evidence
from bnsuite.articles.figures import answers, curves, layers, sweeps
from bnsuite.record.files import make_folder, write_atomically

#: A new picture is a function in one of these modules, from evidence to names and contents of files, and its name here.
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
    """Draws all pictures that the run has trainings for; yields each file that was written into `folder`.

    The folder is made for the first one.
    """
    made = False
    for picture in PICTURES:
        for name, content in picture(evidence):
            if not made:
                make_folder(folder)
                made = True
            write_atomically(folder / name, content)
            yield folder / name
