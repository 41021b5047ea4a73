"""Checks of the data sets that trainings need and that are not made here: MNIST and Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bnsuite.doctor.host import DoctorRequest, Host
from bnsuite.doctor.result import Result, Subject, judged

#: Torchvision's folders and files, as the inner half looks for them (``cases/data/images.py``).
FOLDERS = {"data-mnist": "MNIST", "data-fashion-mnist": "FashionMNIST"}
ARCHIVES = tuple(f"{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))


@dataclass(frozen=True)
class DataFacts:
    """The folder of images."""

    folder: Path


def probe(host: Host, request: DoctorRequest) -> DataFacts:  # noqa: ARG001  # the folder is all there is
    """Nothing to look at before the files themselves."""
    return DataFacts(request.data)


def _check(name: str) -> Callable[[DataFacts], Result]:
    def check(facts: DataFacts) -> Result:
        raw = facts.folder / FOLDERS[name] / "raw"
        missing = [archive for archive in ARCHIVES if not (raw / archive).is_file()]
        return judged("get-data", disturbed=bool(missing), folder=str(facts.folder), missing=len(missing))

    return check


SUBJECT = Subject("data", probe, {name: _check(name) for name in FOLDERS})
