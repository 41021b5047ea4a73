"""The state of the host before a measurement, as ``bnsuite doctor`` finds it and as ``doctor.json`` keeps it."""

from __future__ import annotations

import contextlib
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, JsonValue

from bnsuite.record.errors import InputError
from bnsuite.record.files import exists, read_text, write_atomically
from bnsuite.record.folder import HOST
from bnsuite.record.migrations import Migration
from bnsuite.record.quantities import Count, Number, Seconds
from bnsuite.record.schema import Value, Versioned
from bnsuite.record.store import parse


class CheckState(str, Enum):
    """The result of one check of the host."""

    OK = "ok"
    DISTURBS = "disturbs"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not-applicable"


class HostCheck(Value):
    """One check of the host: the values it observed, and the code of the fix where something disturbs.

    ``report/doctor.py`` words both. `observed` of an unknown one has the cause as `error`.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=60)]
    state: CheckState
    observed: dict[str, JsonValue] = Field(default_factory=dict)
    fix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=60)] | None = None


class DetectableChange(Value):
    """A relative change in time, and the launches and seconds that a comparison needs to show it.

    None where it can't be shown within the launches that a comparison makes.
    """

    change: Annotated[Number, Field(gt=0)]
    launches: Annotated[Count, Field(gt=0)] | None
    needs_s: Seconds | None


class NoiseFloor(Value):
    """The noise of an interpreter compared with itself: the deviation of launches of `case` (relative)."""

    case: str
    device: str
    launches: Count
    deviation: Annotated[Number, Field(ge=0)]
    launch_s: Seconds
    most_launches: Annotated[Count, Field(gt=0)]
    changes: tuple[DetectableChange, ...]


class DoctorStatus(IntEnum):
    """The exit status of ``bnsuite doctor``; 1 wins over 2."""

    FIT = 0
    DISTURBED = 1
    UNKNOWN = 2


class HostReport(Versioned):
    """All checks of a host at one moment.

    History of the schema: 1, in 0.5.0, is the first.
    """

    SCHEMA: ClassVar[int] = 1
    MIGRATIONS: ClassVar[dict[int, Migration]] = {}

    bnsuite: str
    taken: str
    checks: tuple[HostCheck, ...]
    noise: NoiseFloor | None = None

    @property
    def status(self) -> DoctorStatus:
        """The exit status that the checks amount to."""
        states = {one.state for one in self.checks}
        if CheckState.DISTURBS in states:
            return DoctorStatus.DISTURBED
        return DoctorStatus.UNKNOWN if CheckState.UNKNOWN in states else DoctorStatus.FIT


def save(report: HostReport | None, folder: Path) -> None:
    """Writes the report, if there is one, into `folder`; one that can't be written spoils no measurement."""
    if report is not None:
        with contextlib.suppress(InputError):
            write_atomically(folder / HOST, report.model_dump_json(by_alias=True, indent=1) + "\n")


def load(folder: Path) -> HostReport | None:
    """Returns the report in `folder`, or None if there is none; InputError for a file that can't be used."""
    path = folder / HOST
    return parse(HostReport, read_text(path, "report of the host"), path) if exists(path) else None
