"""A whole measuring: plan, make the data, follow the trainings, time the cases."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from bnsuite import __version__
from bnsuite.launch import curves, items, quiet
from bnsuite.launch.child import ChildError
from bnsuite.launch.inquiry import ask_place, ask_stage, catalogue
from bnsuite.launch.revision import revision
from bnsuite.launch.worker import Worker
from bnsuite.record.recorder import Recorder
from bnsuite.record.schema import SCHEMA, Asked, CaseResult, Outcome, Quiet, Run, Status, Timing

if TYPE_CHECKING:
    from typing_extensions import Self


#: How many more launches a run makes for cases that were disturbed.
REPEATS = 3


@dataclass(frozen=True)
class Progress:
    """How far the measuring is: `done` of `total` measurements, and what came last."""

    stage: str
    label: str
    done: int
    total: int


class Session:
    """One run being measured. A context manager: leaving it ends every process and removes the scratch files."""

    def __init__(self, asked: Asked, folder: Path, listen: Callable[[Progress], None]) -> None:
        self._asked, self._folder, self._listen = asked, folder, listen
        self._began = monotonic()
        self._scratch = Path(tempfile.mkdtemp(prefix="bnsuite-"))
        self._stage = self._scratch / "data"
        self._workers: list[Worker] = []
        self._cores = quiet.cores()
        self._timed_cores = quiet.timed_cores(asked.threads, self._cores)
        self._launches = self._done = self._total = 0
        self._recorder: Recorder | None = None
        #: What went wrong without spoiling a measurement.
        self.warnings: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()
        shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def run(self) -> Run | None:
        """What was measured so far, or None while nothing is planned."""
        return self._recorder.run if self._recorder else None

    def prepare(self) -> Run:
        """Choose the cases, make sure of the device and make the data; returns the run, still empty.

        Raises InputError if that can't be, and ChildError if a process that should answer dies.
        """
        asked = self._asked
        with ThreadPoolExecutor(1) as aside:
            answer = aside.submit(ask_place, asked.device, self._worker("environment"))
            try:
                plan = catalogue(asked.profile, asked.select)
                names = sorted({case.dataset for case in plan if case.dataset})
                ask_stage(names, self._stage, self._worker("stage"))
            finally:
                device, environment = answer.result()
        not_done = () if self._timed_cores else (f"no core to spare for timing: {len(self._cores)} given",)
        run = Run(
            schema=SCHEMA,
            bnsuite=__version__,
            revision=revision(),
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            wall_s=0.0,
            finished=False,
            asked=asked,
            device=device,
            environment=environment,
            quiet=Quiet(
                variables=quiet.variables(asked.threads), timed_cores=tuple(self._timed_cores), not_done=not_done
            ),
            cases=tuple(
                CaseResult(case=case, outcomes={gate: Outcome(status=Status.PENDING) for gate in case.gates})
                for case in plan
            ),
        )
        self._recorder = Recorder(run, self._folder, self._began)
        self._total = len(self._recorder.ids("timing")) * asked.launches
        self._total += len(self._recorder.ids("convergence")) * len(asked.seeds)
        return self._recorder.run

    def follow_curves(self) -> None:
        """Train every case with a convergence gate once a seed, side by side over the cores."""
        recorder = self._ready()
        jobs = [(name, seed) for seed in self._asked.seeds for name in recorder.ids("convergence")]
        if not jobs:
            return
        on_cpu = recorder.run.device == "cpu"
        sides = self._cores[:: self._asked.threads] if on_cpu else [None]
        workers = [self._worker(f"train-{n}", core=core) for n, core in enumerate(sides[: len(jobs)])]
        with closing(curves.follow(jobs, workers, recorder.run.device, self._asked.timeout_s)) as results:
            for name, result in results:
                if isinstance(result, str):
                    recorder.fail(name, "convergence", result)
                else:
                    recorder.add_curve(name, result)
                self._tell("training", name)
        for worker in workers:
            worker.end()

    def time(self) -> Run:
        """Time every case that has a timing gate in as many fresh launches as were asked for.

        What was disturbed is repeated, in at most REPEATS more launches. Returns the run as it is then.
        """
        return self._time(self._ready().ids("timing"), confirms=False)

    def confirm(self, names: Collection[str]) -> Run:
        """Time the cases `names` in as many fresh launches again, to see whether what they showed holds."""
        self._total += len(names) * self._asked.launches
        return self._time([name for name in self._ready().ids("timing") if name in names], confirms=True)

    def _time(self, names: list[str], *, confirms: bool) -> Run:
        recorder, wanted = self._ready(), self._asked.launches
        with quiet.coordinator_apart(self._timed_cores, self._cores):
            for launch in range(wanted + REPEATS):
                if launch >= wanted:
                    names = [name for name in names if recorder.undisturbed(name, confirms=confirms) < wanted]
                    self._total += len(names)
                alive = set(recorder.ids("timing"))
                names = [name for name in names if name in alive]
                if not names:
                    break
                self._launch(names, confirms=confirms)
        return recorder.run

    def end(self, ended_by: str | None = None) -> None:
        """Record that the session is over: finished, or ended by what `ended_by` names."""
        self._ready().end(ended_by)

    def _launch(self, names: Iterable[str], *, confirms: bool) -> None:
        """One launch; a case that ends the process is recorded as failed and the rest goes on in another one."""
        recorder = self._ready()
        self._launches += 1
        stage = f"{'confirming' if confirms else 'timing'}, launch {self._launches}"
        names = list(names)
        part = 0
        while names:
            part += 1
            name_of_json = f"launch-{self._launches}{'' if part == 1 else f'-part-{part}'}.json"
            before = len(names)
            try:
                with closing(self._outcomes(names, name_of_json)) as outcomes:
                    for name, outcome in outcomes:
                        names.remove(name)
                        if isinstance(outcome, Timing):
                            recorder.add_timing(name, outcome.model_copy(update={"confirms": confirms}))
                        else:
                            recorder.fail(name, "timing", outcome.reason or "no reason given")
                        self._tell(stage, name)
            except ChildError as error:
                if names and len(names) == before:  # it dies before it measures anything: more of it won't help
                    for name in names:
                        recorder.fail(name, "timing", f"the timing process could not start: {error}")
                    return
                self.warnings.append(f"launch {self._launches}: {error}; its pytest-benchmark JSON may be missing")

    def _outcomes(self, names: list[str], name_of_json: str) -> items.Results:
        folder = self._folder / "pytest-benchmark"
        folder.mkdir(exist_ok=True)
        return items.launch(
            names.copy(),
            device=self._ready().run.device,
            threads=self._asked.threads,
            timeout_s=self._asked.timeout_s,
            scratch=self._scratch,
            stage=self._stage,
            cores=self._timed_cores,
            benchmark_json=(folder / name_of_json).resolve(),
        )

    def _worker(self, name: str, core: int | None = None) -> Worker:
        worker = Worker(self._scratch, name, self._asked.threads, self._stage, core)
        self._workers.append(worker)
        return worker

    def _ready(self) -> Recorder:
        assert self._recorder is not None, "prepare() comes first"
        return self._recorder

    def _tell(self, stage: str, label: str) -> None:
        self._done += 1
        self._listen(Progress(stage, label, self._done, self._total))
