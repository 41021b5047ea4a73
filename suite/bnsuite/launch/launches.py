"""The timing launches of a run: fresh processes, repeated for cases that were disturbed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import closing
from time import monotonic

from bnsuite.launch.items import LingeringProcessError, Outcomes, launch_items
from bnsuite.launch.plan import MAX_REPEATS
from bnsuite.launch.prepared import PreparedSession
from bnsuite.launch.process import isolation
from bnsuite.launch.process.child import ChildError
from bnsuite.launch.worker_launch import launch_worker
from bnsuite.record.files import make_folder
from bnsuite.record.folder import PYTEST_BENCHMARK
from bnsuite.record.schema import Outcome, Run, Status, Timing

#: Measures cases in one fresh process: their ids, and the number of the process in its launch.
Launch = Callable[[list[str], int], Outcomes]


class Launches:
    """The timing launches of a prepared session.

    They are pytest processes if the environment is this interpreter, else workers; `launch` replaces either.
    """

    def __init__(self, session: PreparedSession, launch: Launch | None = None) -> None:
        self._session = session
        self._outcomes = launch or (self._by_pytest if session.environment.has_pytest else self._by_worker)
        self._launches = 0
        #: Why the cases of this launch are timed again; empty in the launches that were asked for.
        self._again = ""
        self._lingered = False

    def time(self, names: Collection[str], deadline: float | None = None) -> Run:
        """Times the cases `names` in as many fresh launches as were asked for.

        Disturbed cases are repeated, in at most MAX_REPEATS more launches. `deadline` (monotonic) ends a launch after
        the case that runs then. Returns the run as it is then.
        """
        chosen = self._timed(names)
        self._session.progress.expect(sum(map(self._session.launches_of, chosen)))
        return self._time(chosen, deadline, confirms=False)

    def confirm(self, names: Collection[str], deadline: float | None = None) -> Run:
        """Times the cases `names` in as many fresh launches again, to see if what they showed holds."""
        self._session.progress.expect(len(names) * self._session.options.launches)
        return self._time(self._timed(names), deadline, confirms=True)

    def _timed(self, names: Collection[str]) -> list[str]:
        """Returns those of `names` that can be timed, in their order in a launch."""
        chosen = set(names) & set(self._session.recorder.ids("timing"))
        return [case.id for case in self._session.cases if case.id in chosen]

    def _time(self, names: list[str], deadline: float | None, *, confirms: bool) -> Run:
        prepared, session = self._session, self._session.session
        recorder, most = prepared.recorder, prepared.options.launches
        enough = {name: most if confirms else prepared.launches_of(name) for name in names}
        session.query.end()  # nothing of the session runs beside what is timed
        with isolation.coordinator_apart(session.timed_cores, session.cores):
            for launch in range(most + MAX_REPEATS):
                began = monotonic()
                if deadline is not None and began > deadline:
                    break
                self._again = ""
                alive = set(recorder.ids("timing"))
                chosen = [name for name in names if name in alive and launch < enough[name]]
                if launch >= most:
                    self._again = " again: disturbed before"
                    names = [name for name in names if recorder.undisturbed(name, confirms=confirms) < enough[name]]
                    chosen = [name for name in names if name in alive]
                    prepared.progress.expect(len(chosen))
                if chosen:
                    self._launch(chosen, deadline, confirms=confirms)
                    names = names[: _fitting(len(names), most - launch - 1, began, deadline)]
        return prepared.run

    def _launch(self, names: list[str], deadline: float | None, *, confirms: bool) -> None:
        """Makes one launch; a case that ends its process is recorded as failed, and the rest goes on in another one."""
        self._launches += 1
        part = 0
        while names:
            part += 1
            measured: set[str] = set()
            try:
                with closing(self._outcomes(names.copy(), part)) as outcomes:
                    ended: float | None = None  # of the case before; the first one waits for the process to start
                    for name, outcome in outcomes:
                        took_s = None if ended is None else monotonic() - ended
                        self._take(name, outcome, measured, took_s, confirms=confirms)
                        ended = monotonic()
                        if deadline is not None and ended > deadline:
                            return
                if not measured:
                    raise ChildError("it ended without a word of any case")
            except LingeringProcessError as error:
                self._warn_of_lingering(error)
            except ChildError as error:
                self._session.session.keep_logs()
                if not measured:  # it ends before it measures anything: more of it won't help
                    for name in names:
                        self._session.fail(name, "timing", f"the timing process: {error}")
                    return
                self._session.session.warnings.append(
                    f"launch {self._launches}: {error}; its pytest-benchmark JSON may be missing"
                )
            names = [name for name in names if name not in measured]

    def _take(
        self, name: str, outcome: Timing | Outcome, measured: set[str], took_s: float | None, *, confirms: bool
    ) -> None:
        """Records the outcome of a case; a failure may follow on a result, as it does in pytest's teardown."""
        recorder = self._session.recorder
        if name not in recorder.ids("timing"):
            raise ChildError(f"sent an outcome of {name!r}, which it was not asked for")
        if isinstance(outcome, Outcome) and outcome.status is Status.SKIPPED:
            recorder.skip(name, outcome.reason or "no reason given")
        elif isinstance(outcome, Outcome):
            self._session.fail(name, "timing", outcome.reason or "no reason given")
        elif name not in measured:
            recorder.add_timing(name, outcome.model_copy(update={"confirms": confirms}), took_s)
        if name not in measured:
            stage = "confirming" if confirms else "timing"
            self._session.progress.advance(f"{stage}{self._again}, launch {self._launches}", name)
        measured.add(name)

    def _warn_of_lingering(self, error: LingeringProcessError) -> None:
        """Warns once: every launch of the same cases will do the same."""
        if not self._lingered:
            self._session.session.warnings.append(f"launch {self._launches}: {error}; it is ended with each launch")
        self._lingered = True

    def _by_pytest(self, names: list[str], part: int) -> Outcomes:
        session = self._session.session
        folder = session.folder / PYTEST_BENCHMARK
        make_folder(folder)
        name_of_json = f"launch-{self._launches}{'' if part == 1 else f'-part-{part}'}.json"
        return launch_items(
            names,
            session.worker_options("launch", session.timed_cores),
            device=self._session.device,
            timeout_s=self._session.options.timeout_s,
            benchmark_json=(folder / name_of_json).resolve(),
        )

    def _by_worker(self, names: list[str], _: int) -> Outcomes:
        session = self._session.session
        worker = session.worker("launch", session.timed_cores)
        return launch_worker(names, worker, device=self._session.device, timeout_s=self._session.options.timeout_s)


def _fitting(names: int, launches: int, began: float, deadline: float | None) -> int:
    """Returns how many of `names`, the first ones, have time for `launches` more like the one that `began`."""
    if deadline is None or launches < 1:
        return names
    now = monotonic()
    return min(names, int(names * max(0.0, deadline - now) / (launches * max(now - began, 1e-9))))
