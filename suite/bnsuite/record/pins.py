"""Known deviations that pass, each with its reason: ``pins.json`` in the baselines, one line per pin."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

import bnsuite
from bnsuite.record.files import read_text
from bnsuite.record.lines import kind_of_device, torch_of
from bnsuite.record.migrations import Migration
from bnsuite.record.renames import current_id, old_id
from bnsuite.record.schema import Observation, Run, Value, Versioned
from bnsuite.record.store import parse

PINS_FILE = "pins.json"
HINT = "write it as baselines/README.md says"
#: Known deviations of torch, which it has whatever baselines a run is compared with.
OURS = Path(bnsuite.__file__).parents[2] / "baselines" / PINS_FILE


class Pin(Value):
    """A known deviation, on versions of torch that begin with `torch`.

    `case` and `what` are patterns (``*`` for anything), since one defect shows in many cases of its family.
    """

    case: str
    what: str
    device: Literal["cpu", "cuda", "any"]
    #: Such as "2.14" or "2.14.1"; "" for every version.
    torch: str
    #: The tolerated word, or the upper bound of a number.
    value: float | str
    reason: Annotated[str, Field(min_length=10)]

    def covers(self, run: Run, case: str, observation: Observation) -> bool:
        """Returns if this deviation of `run` is the known one."""
        if not (self._matches(case) and fnmatchcase(observation.what, self.what)):
            return False
        if self.device not in {"any", kind_of_device(run)} or not _begins(torch_of(run), self.torch):
            return False
        if isinstance(self.value, str) or isinstance(observation.value, str):
            return self.value == observation.value
        return observation.value <= self.value

    def _matches(self, case: str) -> bool:
        """Returns if the pattern is of this case, by today's id or by that until 0.3: a pattern can't be renamed."""
        return fnmatchcase(case, self.case) or fnmatchcase(old_id(case), self.case)


def _begins(version: str, with_what: str) -> bool:
    """Returns if a version is one of a release: "2.14.1+cpu" is a "2.14", and no "2.1"."""
    return not with_what or version.partition("+")[0] == with_what or version.startswith(f"{with_what}.")


def _rename_families(file: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: families of checks were called otherwise."""
    return {**file, "schema": 2, "pins": [{**pin, "case": current_id(pin["case"])} for pin in file["pins"]]}


class Pins(Versioned):
    """The file. History of the schema: 1 is the first. 2, in 0.4.0, renames families of checks."""

    SCHEMA: ClassVar[int] = 2
    MIGRATIONS: ClassVar[dict[int, Migration]] = {1: _rename_families}

    pins: tuple[Pin, ...]


def read(baselines: Path) -> tuple[Pin, ...]:
    """Returns the pins in a folder of baselines, or ours if it has none; raises InputError for an unusable file.

    Ours are those of the checkout that this runs from, or those of the folder that an image names in its environment.
    """
    ours = [OURS, *(Path(one) / PINS_FILE for one in filter(None, [os.environ.get("BNSUITE_BASELINES")]))]
    path = next((one for one in (baselines / PINS_FILE, *ours) if one.exists()), None)
    return parse(Pins, read_text(path, "list of pins"), path, hint=HINT).pins if path is not None else ()


def text(pins: Sequence[Pin]) -> str:
    """Returns the text of the file."""
    lines = ",\n".join(f"  {json.dumps(pin.model_dump(), ensure_ascii=False)}" for pin in pins)
    return f'{{\n "schema": {Pins.SCHEMA},\n "pins": [\n{lines}\n ]\n}}\n'
