"""A timing launch by pytest: one fresh process over the items, which reports the outcome of each as it comes."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

import bnsuite
from bnsuite.launch.process import isolation
from bnsuite.launch.process.child import Child, ChildError, SilentError
from bnsuite.launch.process.messages import (
    EVENT,
    BeginEvent,
    EndEvent,
    Event,
    FailureEvent,
    SkipEvent,
    TimingEvent,
    parse_message,
)
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.launch.process.worker import START_UP_S, TIMEOUT
from bnsuite.record.schema import Outcome, Status, Timing

#: The most that pytest may take after the last case to write its files, then to end, and to end if threads go on.
CLOSE_DOWN_S = 60.0
THREADS_S = 5.0

ITEMS = Path(bnsuite.__file__).parent / "measure" / "items"
FILES = (ITEMS / "bench_cases.py", ITEMS / "bench_ratios.py")

#: Exit statuses of pytest in the middle of a case.
CAUSES = {2: "KeyboardInterrupt: raised by the measured code", 3: "an exception that pytest can't report"}
#: Exit statuses of pytest at its end; 2 after a failed case, which was reported.
COMPLETE = (0, 2)

Outcomes = Generator[tuple[str, Timing | Outcome], None, None]


class LingeringProcessError(ChildError):
    """The launch is complete, but something that the measured code started kept its process from ending."""


def launch_items(
    ids: list[str], options: WorkerOptions, *, device: str, timeout_s: float, benchmark_json: Path
) -> Outcomes:
    """Measures `ids` in one fresh process and yields each case's timing, or its failure, as it comes.

    A case that raises, hangs or kills the process is yielded as failed, and ends the launch, since a GPU's context
    may be worth nothing after an error: the cases not yielded were not measured. Raises ChildError if the process
    ends before it has begun any case, and LingeringProcessError if it does not end after the last one.
    """
    child = _start(ids, options, device, benchmark_json)
    left, running, over = set(ids), None, False
    try:
        while True:
            try:
                event = _next_event(child, running, timeout_s, over=over)
            except ChildError as error:
                if running is None:
                    raise
                silent = f"no result after {timeout_s:g} s, {TIMEOUT}"
                yield running, failed(silent if isinstance(error, SilentError) else str(error))
                return
            if event is None or isinstance(event, EndEvent):
                break
            if isinstance(event, BeginEvent):
                running = event.case
                continue
            running = None
            yield event.case, _outcome(event)
            left.discard(event.case)
            over = over or isinstance(event, FailureEvent) or not left
        if running is not None:
            yield running, failed(CAUSES.get(child.wait(THREADS_S) or 0) or child.exit_reason())
        else:
            waits = isinstance(event, EndEvent) and event.threads > 0
            _require_end(child, THREADS_S if waits else min(CLOSE_DOWN_S, timeout_s))
    finally:
        child.end()


def _outcome(event: TimingEvent | FailureEvent | SkipEvent) -> Timing | Outcome:
    if isinstance(event, TimingEvent):
        return event.timing
    if isinstance(event, SkipEvent):
        return Outcome(status=Status.SKIPPED, reason=event.reason)
    return failed(event.reason)


def _require_end(child: Child, limit_s: float) -> None:
    """Raises LingeringProcessError if the process goes on running, and ChildError if it did not end as it should."""
    status = child.wait(limit_s)
    if status is None:
        raise LingeringProcessError("something that the measured code started outlives its last case")
    if status not in COMPLETE:
        raise ChildError(child.exit_reason())


def _next_event(child: Child, running: str | None, timeout_s: float, *, over: bool) -> Event | None:
    """Returns the next event, or None at the end of the messages.

    Raises SilentError if a case, or the start of one, takes too long, and ChildError if the end does.
    """
    between_s = min(CLOSE_DOWN_S, timeout_s) if over else START_UP_S
    limit_s = between_s if running is None else timeout_s
    try:
        line = child.receive(limit_s)
    except SilentError as error:
        if not over or running is not None:
            raise
        raise ChildError(f"it did not end within {limit_s:g} s after its last case") from error
    return None if line is None else parse_message(line, EVENT)


def failed(reason: str) -> Outcome:
    """Returns the outcome of a case that failed for this reason."""
    return Outcome(status=Status.FAILED, reason=reason)


def _start(ids: list[str], options: WorkerOptions, device: str, benchmark_json: Path) -> Child:
    chosen = options.scratch / "ids.txt"
    chosen.write_text("\n".join(ids), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", *map(str, FILES), "-q", "-c", "/dev/null", f"--rootdir={ITEMS}"]
    command += ["-p", "no:cacheprovider", "-p", "pytest_benchmark.plugin", "-p", "bnsuite.measure.plugin"]
    command += ["--device", device, "--bnsuite-ids", str(chosen), "--bnsuite-events", "{fd}"]
    command += ["--benchmark-json", str(benchmark_json)]
    return Child(
        command,
        environment=isolation.process_environment(options, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),
        folder=options.scratch,
        log=options.scratch / f"{options.label}.txt",
        own_pipe=True,
    )
