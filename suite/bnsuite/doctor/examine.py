"""The examination of a host: all subjects at once, within a time limit, and nothing of it raises."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from datetime import timezone
from threading import Thread
from time import monotonic
from typing import Any

import bnsuite
from bnsuite.doctor.checks import FAST, SUBJECTS
from bnsuite.doctor.host import CannotLookError, DoctorRequest, Host
from bnsuite.doctor.result import Result, Subject, unknown
from bnsuite.record.errors import in_one_line
from bnsuite.record.host import HostCheck, HostReport, NoiseFloor

#: Seconds for all checks of a command, and for those that are taken before a measurement.
LIMIT_S, FAST_LIMIT_S = 4.5, 0.3
#: Seconds between two samples of a counter before a measurement.
FAST_WINDOW_S = 0.12


def examine(
    host: Host,
    request: DoctorRequest,
    subjects: Sequence[Subject[Any]] = SUBJECTS,
    *,
    limit_s: float = LIMIT_S,
    ignored: Collection[str] = (),
) -> tuple[HostCheck, ...]:
    """Returns the result of every check but those `ignored`, in the order of the registry.

    Each subject has a thread of its own, which is left behind if it does not answer in time.
    """
    began = monotonic()
    looks = [_Look(subject, host, request, ignored) for subject in subjects if set(subject.checks) - set(ignored)]
    for look in looks:
        look.start()
    checks: list[HostCheck] = []
    for look in looks:
        may_take_s = max(limit_s, look.limit_s or 0.0)
        look.join(max(0.0, began + may_take_s - monotonic()))
        found = dict(look.found)
        late = unknown(f"no answer within {may_take_s:g} s")
        for name in look.names:
            result = found.get(name, late)
            checks.append(HostCheck(name=name, state=result.state, observed=result.observed, fix=result.fix))
    return tuple(checks)


class _Look(Thread):
    """The look at one subject."""

    def __init__(self, subject: Subject[Any], host: Host, request: DoctorRequest, ignored: Collection[str]) -> None:
        super().__init__(name=f"bnsuite-doctor-{subject.name}", daemon=True)
        self._subject, self._host, self._request = subject, host, request
        self.names = [name for name in subject.checks if name not in ignored]
        self.limit_s = subject.limit_s(host, request)
        #: Results so far, by the name of the check.
        self.found: dict[str, Result] = {}

    def run(self) -> None:
        """Look at the subject and judge it, check by check; on another core than the one that would be timed on."""
        with contextlib.suppress(OSError):  # a host of a test may have other cores
            os.sched_setaffinity(0, set(self._host.cores[:-1]) or set(self._host.cores))
        try:
            facts = self._subject.probe(self._host, self._request)
        except Exception as error:  # noqa: BLE001  # a probe that breaks is a look that failed
            self.found = dict.fromkeys(self.names, unknown(_cause(error)))
            return
        for name in self.names:
            try:
                self.found[name] = self._subject.checks[name](facts)
            except Exception as error:  # noqa: BLE001  # likewise
                self.found[name] = unknown(_cause(error))


def _cause(error: Exception) -> str:
    """Returns the cause of a failed look in one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) if isinstance(error, CannotLookError) else in_one_line(error)


def report(checks: tuple[HostCheck, ...], host: Host, noise: NoiseFloor | None = None) -> HostReport:
    """Returns the checks as a report of this moment."""
    moment = host.now().astimezone(timezone.utc).isoformat(timespec="seconds")
    return HostReport(schema=HostReport.SCHEMA, bnsuite=bnsuite.__version__, taken=moment, checks=checks, noise=noise)


def taken(request: DoctorRequest, host: Host | None = None) -> HostReport | None:
    """Returns the fast checks, for the results of a measurement that begins; None if even they fail."""
    try:
        host = host or Host(window_s=FAST_WINDOW_S)
        return report(examine(host, request, FAST, limit_s=FAST_LIMIT_S), host)
    except Exception:  # noqa: BLE001  # the host's state spoils no measurement
        return None
