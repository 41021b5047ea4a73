"""A whole measuring: plan, make the data, follow the trainings, time the cases."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from bnsuite import __version__
from bnsuite.launch import items, quiet
from bnsuite.launch.child import ChildError
from bnsuite.launch.inquiry import ask_place, ask_stage, catalogue
from bnsuite.launch.messages import Followed, Looked
from bnsuite.launch.revision import revision
from bnsuite.launch.side_by_side import Job, Result, ask_all
from bnsuite.launch.worker import TIMEOUT, Worker
from bnsuite.record.errors import InputError
from bnsuite.record.files import make_folder
from bnsuite.record.recorder import Recorder
from bnsuite.record.schema import CHECK_GATES, Asked, CaseResult, Outcome, PlannedCase, Quiet, Run, Status, Timing

if TYPE_CHECKING:
    from typing_extensions import Self


T = TypeVar("T")

#: The extra of ours that brings a package.
EXTRAS = {"keras": "keras", "onnx": "onnx", "onnxruntime": "onnx", "onnxscript": "onnx"}

#: How many more launches a run makes for cases that were disturbed.
REPEATS = 3


@dataclass(frozen=True)
class Progress:
    """How far the measuring is: `done` of `total` measurements, and what came last."""

    stage: str
    label: str
    done: int
    total: int


def _why_not(case: PlannedCase, missing: dict[str, str]) -> str | None:
    """Why a case can't be measured here, and the way to have it measured."""
    if case.lacks:
        extras = {EXTRAS[package] for package in case.lacks if package in EXTRAS}
        wanted = f"'bnsuite[{','.join(sorted(extras))}]'" if extras else " ".join(case.lacks)
        verb = "is" if len(case.lacks) == 1 else "are"
        return f"{', '.join(case.lacks)} {verb} not installed; pip install {wanted}"
    return missing.get(case.dataset or "")


class Session:
    """One run being measured. A context manager: leaving it ends every process and removes the scratch files."""

    def __init__(
        self, asked: Asked, folder: Path, listen: Callable[[Progress], None], data: Path | None = None
    ) -> None:
        self._asked, self._folder, self._listen, self._data = asked, folder, listen, data
        self._began = monotonic()
        self._scratch = Path(tempfile.mkdtemp(prefix="bnsuite-"))
        self._stage = self._scratch / "data"
        self._workers: list[Worker] = []
        self._cores = quiet.cores()
        self._timed_cores = quiet.timed_cores(asked.threads, self._cores)
        self._launches = self._done = self._total = 0
        self._recorder: Recorder | None = None
        self._troubled = False
        #: What went wrong without spoiling a measurement.
        self.warnings: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()
        if self._troubled:
            with contextlib.suppress(OSError):
                log = self._folder / "log"
                log.mkdir(exist_ok=True)
                for words in self._scratch.glob("*.txt"):
                    shutil.copy(words, log / words.name)
                self.warnings.append(f"what the measured processes printed is in {log}/")
        shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def measured(self) -> Run:
        """What was measured so far."""
        return self._ready().run

    def prepare(self) -> Run:
        """Choose the cases, make sure of the device and make the data; returns the run, still empty.

        Raises InputError if that can't be, and NotMeasuredError if a process that should answer fails.
        """
        asked = self._asked
        asked_where = self._worker("environment")
        with ThreadPoolExecutor(1) as aside:
            answer = aside.submit(ask_place, asked.device, asked_where)
            try:
                plan = catalogue(asked.profile, asked.select, self._data, asked.implementation)
                wanted = {case.dataset for case in plan if case.dataset and not case.lacks and not case.cuda_only}
                missing = ask_stage(sorted(wanted), self._stage, self._data, self._worker("stage"))
                device, environment = answer.result()
                chosen = [case for case in plan if device != "cpu" or not case.cuda_only]
                if not chosen:
                    need, them = ("case chosen needs", "it") if len(plan) == 1 else ("cases chosen need", "them")
                    raise InputError(f"the {len(plan)} {need} a GPU; --device cuda measures {them}")
                if device != "cpu":
                    more = {case.dataset for case in plan if case.dataset and not case.lacks} - wanted
                    missing |= ask_stage(sorted(more), self._stage, self._data, self._worker("stage-more"))
            except BaseException:
                asked_where.close()
                raise
        not_done = () if self._timed_cores else (f"no core to spare for timing: {len(self._cores)} given",)
        run = Run(
            schema=Run.SCHEMA,
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
                for case in chosen
            ),
            left_out=len(plan) - len(chosen),
        )
        self._recorder = Recorder(run, self._folder, self._began)
        for case in chosen:
            if reason := _why_not(case, missing):
                self._recorder.skip(case.id, reason)
        self._total = len(self._recorder.ids("timing")) * asked.launches
        self._total += len(self._recorder.ids("convergence")) * len(asked.seeds)
        self._total += sum(len(self._recorder.ids(gate)) for gate in CHECK_GATES)
        return self._recorder.run

    def look(self) -> None:
        """Look at every check, side by side over the cores."""
        recorder = self._ready()
        gates = {name: gate for gate in CHECK_GATES for name in recorder.ids(gate)}
        own = {one.id: one.case.limit_s for one in recorder.run.cases}
        jobs = [
            Job(
                name,
                "",
                {"do": "check", "case": name, "device": recorder.run.device},
                own[name] or self._asked.timeout_s,
                "the limit of this check" if own[name] else TIMEOUT,
            )
            for name in gates
        ]
        for result in self._side_by_side(jobs, "look", Looked):
            name = result.job.case
            if result.answer is None:
                self._fail(name, gates[name], result.reason)
            elif result.answer.skipped is not None:
                recorder.skip(name, result.answer.skipped)
            else:
                recorder.add_observations(name, gates[name], result.answer.observations)
            self._tell("checking", name)

    def follow_curves(self) -> None:
        """Train every case with a convergence gate once a seed, side by side over the cores."""
        recorder = self._ready()
        jobs = [
            Job(
                name,
                f"seed {seed}: ",
                {"do": "curve", "case": name, "seed": seed, "device": recorder.run.device},
                self._asked.timeout_s,
            )
            for seed in self._asked.seeds
            for name in recorder.ids("convergence")
        ]
        for result in self._side_by_side(jobs, "train", Followed):
            name, seed, followed = result.job.case, result.job.request["seed"], result.answer
            if followed is None:
                self._fail(name, "convergence", result.reason)
            elif (followed.curve.seed, followed.detail.seed) != (seed, seed):
                self._fail(name, "convergence", f"{result.job.label}answered for another seed")
            else:
                recorder.add_curve(name, followed.curve, followed.detail)
            self._tell("training", name)

    def _side_by_side(self, jobs: list[Job], stem: str, kind: type[T]) -> Iterator[Result[T]]:
        """The results of `jobs` as they come, from a worker a core; on a GPU from one worker."""
        if not jobs:
            return
        on_cpu = self._ready().run.device == "cpu"
        sides = quiet.side_by_side(self._asked.threads, self._cores) if on_cpu else [[]]
        workers = [self._worker(f"{stem}-{n}", cores, torch_first=True) for n, cores in enumerate(sides[: len(jobs)])]
        with closing(ask_all(jobs, workers, kind)) as results:
            yield from results
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
        recorder = self._ready()
        if ended_by is None:
            recorder.end()
        else:
            with contextlib.suppress(InputError):  # the end may be that nothing can be written any more
                recorder.end(ended_by)

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
                self._troubled = True
                if not told:  # it ends before it measures anything: more of it won't help
                    for name in names:
                        self._fail(name, "timing", f"the timing process: {error}")
                    return
                self.warnings.append(f"launch {self._launches}: {error}; its pytest-benchmark JSON may be missing")
            names = [name for name in names if name not in told]

    def _take(self, name: str, outcome: Timing | Outcome, told: set[str], *, confirms: bool) -> None:
        """Record what a launch tells of a case; a failure may follow on a result, as it does in pytest's teardown."""
        recorder = self._ready()
        if name not in recorder.ids("timing"):
            raise ChildError(f"told of {name!r}, which it was not asked for")
        if isinstance(outcome, Outcome) and outcome.status is Status.SKIPPED:
            recorder.skip(name, outcome.reason or "no reason given")
        elif isinstance(outcome, Outcome):
            self._fail(name, "timing", outcome.reason or "no reason given")
        elif name not in told:
            recorder.add_timing(name, outcome.model_copy(update={"confirms": confirms}))
        if name not in told:
            self._tell(f"{'confirming' if confirms else 'timing'}, launch {self._launches}", name)
        told.add(name)

    def _fail(self, name: str, gate: str, reason: str) -> None:
        self._troubled = True
        self._ready().fail(name, gate, reason)

    def _outcomes(self, names: list[str], part: int) -> items.Results:
        folder = self._folder / "pytest-benchmark"
        make_folder(folder)
        name_of_json = f"launch-{self._launches}{'' if part == 1 else f'-part-{part}'}.json"
        return items.launch(
            names.copy(),
            device=self._ready().run.device,
            threads=self._asked.threads,
            implementation=self._asked.implementation,
            timeout_s=self._asked.timeout_s,
            scratch=self._scratch,
            stage=self._stage,
            cores=self._timed_cores,
            benchmark_json=(folder / name_of_json).resolve(),
        )

    def _worker(self, name: str, cores: Sequence[int] = (), *, torch_first: bool = False) -> Worker:
        worker = Worker(
            self._scratch,
            name,
            threads=self._asked.threads,
            stage=self._stage,
            cores=list(cores),
            torch_first=torch_first,
            implementation=self._asked.implementation,
        )
        self._workers.append(worker)
        return worker

    def _ready(self) -> Recorder:
        assert self._recorder is not None, "prepare() comes first"
        return self._recorder

    def _tell(self, stage: str, label: str) -> None:
        self._done += 1
        self._listen(Progress(stage, label, self._done, self._total))
