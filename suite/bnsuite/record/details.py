"""Details of each training, seed by seed: ``trainings/<training>.jsonl`` beside ``run.json``.

It is kept apart because it is much (histograms of every layer over the epochs), and because nothing in it is
compared with a baseline.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bnsuite.record.errors import InputError
from bnsuite.record.files import exists, make_folder, read_lines, write_atomically
from bnsuite.record.folder import TRAININGS
from bnsuite.record.quantities import Bytes, Count, Number, Share, Whole
from bnsuite.record.schema import Loss, PlannedCase, Value, Versioned
from bnsuite.record.store import parse


class Accuracy(Value):
    """The share of right answers on the validation set, over all of it and class by class."""

    overall: Share
    per_class: tuple[Share, ...]


class Histogram(Value):
    """Counts in equal bins from `low` to `high`, one list before the first epoch and one after each."""

    layer: str
    what: Literal["input", "pre-activation"]
    low: Number
    high: Number
    counts: tuple[tuple[Count, ...], ...] = Field(min_length=1)


class Units(Value):
    """The share of an activation layer that has stopped to answer, before the first epoch and after each.

    A tanh: values beyond ±0.99. A ReLU: units that are zero for every sample.
    """

    layer: str
    activation: Literal["tanh", "relu"]
    share: tuple[Share, ...] = Field(min_length=1)


class Fitted(Value):
    """A regression at the end: the test points and what the network says of them."""

    x: tuple[Number, ...]
    y: tuple[Number, ...]
    prediction: tuple[Loss, ...]


class Detail(Value):
    """One seed of one training."""

    seed: Whole
    steps_per_epoch: Annotated[Whole, Field(ge=1)]
    #: The validation loss that counts as learnt, if there is one.
    target: Number | None = None
    #: The first epoch, from 1, with a loss that was not finite.
    diverged_epoch: Whole | None
    #: Wall time beside whatever trained on the other cores.
    epoch_s: tuple[Annotated[float, Field(ge=0, lt=1e7)], ...]
    #: The process's while it trained: in torch's allocator on a GPU, resident (with a heap that is kept) on a CPU.
    peak_memory_bytes: Bytes | None
    #: The L2 norm of each layer's gradient at the last batch of each epoch.
    gradient_norms: dict[str, tuple[Loss, ...]]
    eval_mode: Accuracy | None
    train_mode: Accuracy | None
    histograms: tuple[Histogram, ...]
    units: tuple[Units, ...]
    fitted: Fitted | None


class DetailLine(Versioned):
    """A line of the file. History of the schema: 1, in 0.2.0, is the first."""

    SCHEMA: ClassVar[int] = 1

    id: str
    detail: Detail


def path(folder: Path, case: PlannedCase) -> Path:
    """The file of a training; InputError for an id that no training has."""
    name = case.id.removeprefix(f"{case.family}/").replace("/", "__")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=-]*", name):
        raise InputError(f"{case.id!r} is not the id of a training; measure again")
    return folder / TRAININGS / f"{name}.jsonl"


def save(case: PlannedCase, details: Iterable[Detail], folder: Path) -> None:
    """Write the details of one training."""
    target = path(folder, case)
    make_folder(target.parent)
    lines = [
        DetailLine(schema=DetailLine.SCHEMA, id=case.id, detail=detail).model_dump_json(by_alias=True)
        for detail in sorted(details, key=lambda one: one.seed)
    ]
    write_atomically(target, "\n".join(lines) + "\n")


def load(folder: Path) -> dict[str, tuple[Detail, ...]]:
    """All details of the run in `folder`, by case; none where the run wrote none. Raises InputError."""
    found: dict[str, list[Detail]] = {}
    where = folder / TRAININGS
    if exists(where) and not where.is_dir():
        raise InputError(f"{where}: is a file, where the details of trainings would lie; remove it, or measure again")
    files = sorted(file for file in where.iterdir() if file.suffix == ".jsonl") if exists(where) else []
    for file in files:
        for number, text in enumerate(read_lines(file, "training"), start=1):
            line = parse(DetailLine, text, file, f", line {number}")
            found.setdefault(line.id, []).append(line.detail)
    return {case: tuple(details) for case, details in found.items()}
