"""The timing launches of a run: fresh pytest processes over the items, repeated where something disturbed them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing

from bnsuite.launch import items
from bnsuite.launch.process import isolation
from bnsuite.launch.process.child import ChildError
from bnsuite.launch.session import Session
from bnsuite.record.files import make_folder
from bnsuite.record.folder import PYTEST_BENCHMARK
from bnsuite.record.schema import Outcome, Run, Status, Timing

#: How many more launches a run makes for cases that were disturbed.
REPEATS = 3


class Launches:
    """The timing launches of one session, which is prepared."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._launches = 0

    def time(self) -> Run:
        """Time every case that has a timing gate in as many fresh launches as were asked for.

        What was disturbed is repeated, in at most REPEATS more launches. Returns the run as it is then.
        """
        names = self._session.recorder.ids("timing")
        self._session.expect(len(names) * self._session.options.launches)
        return self._time(names, confirms=False)

    def confirm(self, names: Collection[str]) -> Run:
        """Time the cases `names` in as many fresh launches again, to see whether what they showed holds."""
        self._session.expect(len(names) * self._session.options.launches)
        return self._time([name for name in self._session.recorder.ids("timing") if name in names], confirms=True)

    def _time(self, names: list[str], *, confirms: bool) -> Run:
        recorder, wanted = self._session.recorder, self._session.options.launches
        with isolation.coordinator_apart(self._session.timed_cores, self._session.cores):
            for launch in range(wanted + REPEATS):
                if launch >= wanted:
                    names = [name for name in names if recorder.undisturbed(name, confirms=confirms) < wanted]
                    self._session.expect(len(names))
                alive = set(recorder.ids("timing"))
                names = [name for name in names if name in alive]
                if not names:
                    break
                self._launch(names, confirms=confirms)
        return recorder.run

    def _launch(self, names: list[str], *, confirms: bool) -> None:
        """One launch; a case that ends the process is recorded as failed and the rest goes on in another one."""
        self._launches += 1
        part = 0
        while names:
            part += 1
            told: set[str] = set()
            try:
                with closing(self._outcomes(names, part)) as outcomes:
                    for name, outcome in outcomes:
                        self._take(name, outcome, told, confirms=confirms)
                if not told:
                    raise ChildError("it ended without a word of any case")
            except ChildError as error:
                self._session.trouble()
                if not told:  # it ends before it measures anything: more of it won't help
                    for name in names:
                        self._session.fail(name, "timing", f"the timing process: {error}")
                    return
                self._session.warnings.append(
                    f"launch {self._launches}: {error}; its pytest-benchmark JSON may be missing"
                )
            names = [name for name in names if name not in told]

    def _take(self, name: str, outcome: Timing | Outcome, told: set[str], *, confirms: bool) -> None:
        """Record what a launch tells of a case; a failure may follow on a result, as it does in pytest's teardown."""
        recorder = self._session.recorder
        if name not in recorder.ids("timing"):
            raise ChildError(f"told of {name!r}, which it was not asked for")
        if isinstance(outcome, Outcome) and outcome.status is Status.SKIPPED:
            recorder.skip(name, outcome.reason or "no reason given")
        elif isinstance(outcome, Outcome):
            self._session.fail(name, "timing", outcome.reason or "no reason given")
        elif name not in told:
            recorder.add_timing(name, outcome.model_copy(update={"confirms": confirms}))
        if name not in told:
            self._session.tell(f"{'confirming' if confirms else 'timing'}, launch {self._launches}", name)
        told.add(name)

    def _outcomes(self, names: list[str], part: int) -> items.Results:
        folder = self._session.folder / PYTEST_BENCHMARK
        make_folder(folder)
        name_of_json = f"launch-{self._launches}{'' if part == 1 else f'-part-{part}'}.json"
        return items.launch(
            names.copy(),
            device=self._session.recorder.run.device,
            threads=self._session.options.threads,
            implementation=self._session.options.implementation,
            timeout_s=self._session.options.timeout_s,
            scratch=self._session.scratch,
            stage=self._session.stage,
            cores=self._session.timed_cores,
            benchmark_json=(folder / name_of_json).resolve(),
        )
