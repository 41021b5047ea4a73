"""One case timed as a pytest item times it, in a process that has no pytest."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bnsuite.cases import RatioCase
from bnsuite.measure.timed_case import TimedCase, TimedRatio, TimingSample

if TYPE_CHECKING:
    from bnsuite.cases import Case
    from bnsuite.measure.devices import Device


def time_case(case: Case, device: Device) -> TimingSample:
    """Returns the sample of `case`, its rounds driven here and not by pytest-benchmark."""
    if isinstance(case, RatioCase):
        ratio = TimedRatio(case, device)
        with _no_collection(), ratio.conditions:
            for _ in range(ratio.rounds):
                ratio()
        return ratio.sample()
    timed = TimedCase(case, device)
    with _no_collection(), timed.conditions:
        timed.time_rounds()
    return timed.sample()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps the garbage collector out of the rounds, as pytest-benchmark does for its items."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
