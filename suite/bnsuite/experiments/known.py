"""What earlier runs on this machine tell of the time that a run will take."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import median

from bnsuite.launch.estimate import Known
from bnsuite.record import store
from bnsuite.record.errors import InputError
from bnsuite.record.folder import RUN
from bnsuite.record.key import differences, machine_key
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Run, RunKind


def known(run: Run, reference: Reference, folders: Iterable[Path]) -> Known:
    """Returns the durations in the first of `folders` with a run of this machine, and the accepted times of steps.

    `run` is the one to be measured. A file that can't be read, or is of another machine, tells nothing.
    """
    return Known(took_s=_earlier(run, folders), step_s=_accepted(run, reference))


def _earlier(run: Run, folders: Iterable[Path]) -> dict[tuple[str, str], float]:
    versions = {one.id: one.case.version for one in run.cases}
    for folder in folders:
        if not (folder / RUN).is_file():
            continue
        try:
            earlier = store.load(folder)
            apart = differences(machine_key(earlier), machine_key(run))
        except (InputError, OSError):
            continue
        found = {
            (gate, one.id): median(seconds)
            for one in earlier.cases
            if versions.get(one.id) == one.case.version
            for gate, seconds in one.took_s.items()
        }
        if earlier.kind is RunKind.RUN and not apart and found:
            return found
    return {}


def _accepted(run: Run, reference: Reference) -> dict[str, float]:
    return {
        one.id: median(launch.median_s for launches in reference.timing[one.id].runs for launch in launches)
        for one in run.cases
        if one.id in reference.timing
    }
