"""pytest's side of a timing launch: options, fixtures and the outcome of every item.

Loaded by the conftest for ``pytest suite --device cpu`` and with ``-p`` by the outer half, which passes a file
descriptor for outcomes and a file with the ids to be measured.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bnsuite.cases import Case, CatalogueError, RatioCase, catalogue, gpu_errors, skips, user_files
from bnsuite.cases.case import PROFILES
from bnsuite.measure import cores, devices
from bnsuite.measure.channel import Channel
from bnsuite.measure.timed_case import TimingSample, seconds_of_case

_DEVICE: pytest.StashKey[devices.Device] = pytest.StashKey()
_CHANNEL: pytest.StashKey[Channel | None] = pytest.StashKey()
#: Under this key an item leaves its sample. The report hook sends it, since an item may still fail after that.
MEASURED: pytest.StashKey[TimingSample] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bnsuite")
    group.addoption("--device", default="auto", help=devices.NAMES)
    group.addoption("--profile", default="quick", choices=PROFILES, help="which cases to collect")
    group.addoption("--cases", metavar="FILE.py[:NAME]", action="append", default=[], help="measure its cases as well")
    group.addoption("--bnsuite-ids", metavar="FILE", help="collect just the case ids in FILE, one a line")
    group.addoption("--bnsuite-events", metavar="FD", type=int, help="send the outcome of every case there")


def pytest_configure(config: pytest.Config) -> None:
    cores.take()
    files = [os.environ.get(user_files.VARIABLE, ""), *config.getoption("--cases")]
    entries = [entry for one in files for entry in one.split(os.pathsep)]
    os.environ[user_files.VARIABLE] = os.pathsep.join(dict.fromkeys(filter(None, entries)))
    descriptor = config.getoption("--bnsuite-events")
    config.stash[_CHANNEL] = None if descriptor is None else Channel(descriptor)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Resolves the device and the catalogue before anything is collected, where a usage error is reported as one."""
    _measured_device(session.config)  # first: a user's file may touch the GPU, and others there are known by then
    try:
        catalogue.all_cases()
    except CatalogueError as error:
        raise pytest.UsageError(str(error)) from None


def _measured_device(config: pytest.Config) -> devices.Device:
    """The device that all items of this session are measured on, resolved once."""
    if _DEVICE not in config.stash:
        try:
            config.stash[_DEVICE] = devices.resolve(config.getoption("--device"))
        except devices.DeviceError as error:
            raise pytest.UsageError(str(error)) from None
        import torch  # noqa: F401  # here, so that no case is charged for it

        config.stash[_DEVICE].use()
    return config.stash[_DEVICE]


def _cases(config: pytest.Config) -> list[Case]:
    listed = config.getoption("--bnsuite-ids")
    if listed is None:
        return [case for case in catalogue.profile(config.getoption("--profile")) if "timing" in case.gates]
    return [catalogue.case(line) for line in Path(listed).read_text(encoding="utf-8").splitlines()]


#: The cases that each file's items are made of, by the name of their argument.
_ARGUMENTS: dict[str, Callable[[Case], bool]] = {
    "case": lambda case: not isinstance(case, RatioCase),
    "ratio": lambda case: isinstance(case, RatioCase),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    argument = next((name for name in _ARGUMENTS if name in metafunc.fixturenames), None)
    if argument is None:
        return
    measured = _measured_device(metafunc.config)
    timed_inside = argument == "ratio" or measured.holds_queue
    options = {"timer": seconds_of_case if timed_inside else measured.clock, "disable_gc": True}
    metafunc.parametrize(
        argument,
        [
            pytest.param(
                case,
                id=case.id,
                marks=(pytest.mark.benchmark(group=case.family, **options), *_skip(case, measured)),
            )
            for case in _cases(metafunc.config)
            if _ARGUMENTS[argument](case)
        ],
    )


def _skip(case: Case, measured: devices.Device) -> list[pytest.MarkDecorator]:
    """The reason why a case can't be measured here, as a mark; a run has left such cases out before."""
    lacks = [package for package in case.packages if find_spec(package) is None]
    if lacks:
        return [pytest.mark.skip(reason=f"{', '.join(lacks)} is not installed")]
    if case.gpu_only and measured.type == "cpu":
        return [pytest.mark.skip(reason="on a GPU only")]
    return []


@pytest.fixture
def device(request: pytest.FixtureRequest) -> devices.Device:
    """The device under measurement."""
    return _measured_device(request.config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _send(item, {"event": "begin", "case": _case_of(item)})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    case = _case_of(item)
    if case is not None and (report.when == "call" or report.outcome != "passed"):
        if call.excinfo is not None and (reason := _why_skipped(item, call.excinfo.value)) is not None:
            _send(item, {"event": "skipped", "case": case, "reason": reason})
            report.outcome, report.longrepr = "skipped", (str(item.path), 0, f"Skipped: {reason}")
        elif report.outcome != "passed":
            _send(item, {"event": "failed", "case": case, "reason": _reason(call)})
            if item.config.stash[_CHANNEL] is not None:
                item.session.shouldstop = f"{case} failed; the others are measured in a fresh process"
        elif MEASURED in item.stash:
            _send(item, {"event": "measured", "case": case, "timing": asdict(item.stash[MEASURED])})
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    """Reports the end of the launch: all files are written, and only the process is still to end."""
    channel = config.stash.get(_CHANNEL, None)
    if channel is not None:
        threads = sum(not thread.daemon for thread in threading.enumerate()) - 1  # the main thread is one
        channel.send({"event": "end", "threads": max(0, threads)})


def _why_skipped(item: pytest.Item, error: BaseException) -> str | None:
    """The reason for a case that needs what the implementation does not support; None if it has failed."""
    case = _of(item)
    return None if case is None else skips.reason(error, case, _measured_device(item.config).name)


def _of(item: pytest.Item) -> Case | None:
    callspec = getattr(item, "callspec", None)
    cases = [value for value in callspec.params.values() if isinstance(value, Case)] if callspec else []
    return cases[0] if cases else None


def _case_of(item: pytest.Item) -> str | None:
    case = _of(item)
    return None if case is None else case.id


def _send(item: pytest.Item, message: dict[str, Any]) -> None:
    channel = item.config.stash[_CHANNEL]
    if channel is not None and message["case"] is not None:
        channel.send(message)


def _reason(call: pytest.CallInfo[None]) -> str:
    """The exception in one line, for the reader of a verdict."""
    return gpu_errors.one_line(call.excinfo.value) if call.excinfo else "unknown"
