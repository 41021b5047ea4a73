"""A timing launch: one fresh pytest process over the items, which tells the outcome of each as it comes."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

import bnsuite
from bnsuite.launch.process import isolation
from bnsuite.launch.process.child import Child, ChildError, SilentError
from bnsuite.launch.process.messages import EVENT, Begin, Failed, Measured, Skipped, understand
from bnsuite.record.schema import Outcome, Status, Timing

#: What starting Python, torch and pytest may take on a cold machine, and what writing the JSON may.
START_UP_S = 180.0
CLOSE_DOWN_S = 60.0

ITEMS = Path(bnsuite.__file__).parent / "measure" / "items"
FILES = (ITEMS / "bench_cases.py", ITEMS / "bench_ratios.py")

Results = Generator[tuple[str, Timing | Outcome], None, None]


def launch(
    ids: list[str],
    *,
    device: str,
    threads: int,
    implementation: str | None,
    timeout_s: float,
    scratch: Path,
    stage: Path,
    cores: list[int],
    benchmark_json: Path,
) -> Results:
    """Measure `ids` in one fresh process and yield each case's timing, or its failure, as it comes.

    A case that raises, hangs or kills the process is yielded as failed, and ends the launch, since a GPU's context
    may be worth nothing after an error: the cases not yielded were not measured. Raises ChildError if the process
    ends before it has begun any case.
    """
    wanted = scratch / "ids.txt"
    wanted.write_text("\n".join(ids), encoding="utf-8")
    more = {"BNSUITE_STAGE": str(stage), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **isolation.taking(cores)}
    child = Child(
        [
            *(sys.executable, "-m", "pytest", *map(str, FILES), "-q", "-c", "/dev/null", f"--rootdir={ITEMS}"),
            *("-p", "no:cacheprovider", "-p", "pytest_benchmark.plugin", "-p", "bnsuite.measure.plugin"),
            *("--device", device, "--bnsuite-ids", str(wanted), "--bnsuite-events", "{fd}"),
            *("--benchmark-json", str(benchmark_json)),
        ],
        environment=isolation.environment(threads, scratch, implementation, **more),
        folder=scratch,
        log=scratch / "launch.txt",
        own_pipe=True,
    )
    running: str | None = None
    try:
        while True:
            try:
                line = child.receive(START_UP_S if running is None else timeout_s)
                if line is None:
                    break
                event = understand(line, EVENT)
            except ChildError as error:
                if running is None:
                    raise
                reason = f"no result after {timeout_s:g} s, the limit that --timeout sets"
                yield running, _failed(reason if isinstance(error, SilentError) else str(error))
                return
            running = event.case if isinstance(event, Begin) else None
            if isinstance(event, Measured):
                yield event.case, event.timing
            elif isinstance(event, Failed):
                yield event.case, _failed(event.reason)
            elif isinstance(event, Skipped):
                yield event.case, Outcome(status=Status.SKIPPED, reason=event.reason)
        if running is not None:
            yield running, _failed(child.exit_reason())
        elif child.wait(CLOSE_DOWN_S) not in (0, 2):  # 2: it stopped after a failed case, which has been told
            raise ChildError(child.exit_reason())
    finally:
        child.end()


def _failed(reason: str) -> Outcome:
    return Outcome(status=Status.FAILED, reason=reason)
