"""One environment being measured: plan, make the data, look at the checks, follow the trainings."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from bnsuite import __version__
from bnsuite.launch.environments import Environment, Here
from bnsuite.launch.plan import NOT_COMPARED
from bnsuite.launch.process import isolation
from bnsuite.launch.process.messages import CheckAnswer, TrainingAnswer
from bnsuite.launch.process.pool import Job, Result, ask_all
from bnsuite.launch.process.scratch import scratch_folder
from bnsuite.launch.process.worker import TIMEOUT, Worker
from bnsuite.launch.queries import ask_environment, ask_stage, catalogue
from bnsuite.launch.revision import revision
from bnsuite.record.errors import InputError
from bnsuite.record.files import make_folder
from bnsuite.record.folder import LOG
from bnsuite.record.recorder import Recorder
from bnsuite.record.schema import CHECK_GATES, CaseResult, Isolation, Outcome, PlannedCase, Run, RunOptions, Status

if TYPE_CHECKING:
    from typing_extensions import Self


T = TypeVar("T")

#: The extra of ours that brings a package.
EXTRAS = {"keras": "keras", "onnx": "onnx", "onnxruntime": "onnx", "onnxscript": "onnx"}


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
        self,
        options: RunOptions,
        folder: Path,
        listen: Callable[[Progress], None],
        data: Path | None = None,
        site: Environment | None = None,
    ) -> None:
        self.options, self.folder, self._listen, self._data = options, folder, listen, data
        self.site = site or Here()
        self._began = monotonic()
        self._scratch = scratch_folder()
        self.scratch = Path(self._scratch.name)
        self.stage = self.scratch / "data"
        self._workers: list[Worker] = []
        self.cores = isolation.cores()
        self.timed_cores = isolation.timed_cores(options.threads, self.cores)
        self._done = self._total = 0
        self._recorded: Recorder | None = None
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
                log = self.folder / LOG
                log.mkdir(exist_ok=True)
                for words in self.scratch.glob("*.txt"):
                    shutil.copy(words, log / words.name)
                self.warnings.append(f"what the measured processes printed is in {log}/")
        self._scratch.cleanup()

    @property
    def measured(self) -> Run:
        """What was measured so far."""
        return self.recorder.run

    def prepare(self, wanted_there: Callable[[PlannedCase], bool] = lambda _: True) -> Run:
        """Choose the cases, make sure of the device and make the data; returns the run, still empty.

        Nothing is written before :meth:`begin`. Raises InputError if that can't be, and NotMeasuredError if a process
        that should answer fails.
        """
        options = self.options
        asked_where = self.worker("environment")
        with ThreadPoolExecutor(1) as aside:
            answer = aside.submit(ask_environment, options.device, asked_where, self.site.name, self.site.hint)
            try:
                plan = catalogue(options.profile, options.select, self._data, options.implementation, self.site)
                plan = [case for case in plan if wanted_there(case)]
                if not plan:
                    raise InputError(f"-k {options.select!r} {NOT_COMPARED}")
                wanted = {case.dataset for case in plan if case.dataset and not case.lacks and not case.gpu_only}
                missing = ask_stage(sorted(wanted), self.stage, self._data, self._here("stage"))
                device, environment = answer.result()
                self.site.check(environment)
                chosen = [case for case in plan if device != "cpu" or not case.gpu_only]
                if not chosen:
                    need, them = ("case chosen needs", "it") if len(plan) == 1 else ("cases chosen need", "them")
                    raise InputError(f"the {len(plan)} {need} a GPU; --device cuda measures {them}")
                if device != "cpu":
                    more = {case.dataset for case in plan if case.dataset and not case.lacks} - wanted
                    missing |= ask_stage(sorted(more), self.stage, self._data, self._here("stage-more"))
            except BaseException:
                asked_where.close()
                raise
        not_applied = () if self.timed_cores else (f"no core to spare for timing: {len(self.cores)} given",)
        run = Run(
            schema=Run.SCHEMA,
            bnsuite=__version__,
            revision=revision(),
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            wall_s=0.0,
            finished=False,
            options=options,
            device=device,
            environment=environment,
            isolation=Isolation(
                variables=isolation.variables(options.threads),
                timed_cores=tuple(self.timed_cores),
                not_applied=not_applied,
            ),
            cases=tuple(
                CaseResult(case=case, outcomes={gate: Outcome(status=Status.PENDING) for gate in case.gates})
                for case in chosen
            ),
            left_out=len(plan) - len(chosen),
        )
        self._recorded = Recorder(run, self.folder, self._began)
        for case in chosen:
            if reason := _why_not(case, missing):
                self.recorder.skip(case.id, reason)
        self.expect(len(self.recorder.ids("convergence")) * len(options.seeds))
        self.expect(sum(len(self.recorder.ids(gate)) for gate in CHECK_GATES))
        return self.recorder.run

    def begin(self) -> None:
        """Make the folder, and write the run into it: empty, and from now on after whatever is measured."""
        make_folder(self.folder)
        self.recorder.begin()

    def look(self, deadline: float | None = None) -> None:
        """Look at every check, side by side over the cores; what is open at `deadline` (monotonic) stays so."""
        recorder = self.recorder
        gates = {name: gate for gate in CHECK_GATES for name in recorder.ids(gate)}
        own = {one.id: one.case.limit_s for one in recorder.run.cases}
        jobs = [
            Job(
                name,
                "",
                {"do": "check", "case": name, "device": recorder.run.device},
                own[name] or self.options.timeout_s,
                "the limit of this check" if own[name] else TIMEOUT,
            )
            for name in gates
        ]
        for result in self._side_by_side(jobs, "look", CheckAnswer, deadline):
            name = result.job.case
            if result.answer is None:
                self.fail(name, gates[name], result.reason)
            elif result.answer.skipped is not None:
                recorder.skip(name, result.answer.skipped, gates[name])
            else:
                recorder.add_observations(name, gates[name], result.answer.observations)
            self.tell("checking", name)

    def follow_curves(self, deadline: float | None = None) -> None:
        """Train every case with a convergence gate once a seed, side by side over the cores, until `deadline`."""
        recorder = self.recorder
        jobs = [
            Job(
                name,
                f"seed {seed}: ",
                {"do": "curve", "case": name, "seed": seed, "device": recorder.run.device},
                self.options.timeout_s,
            )
            for seed in self.options.seeds
            for name in recorder.ids("convergence")
        ]
        for result in self._side_by_side(jobs, "train", TrainingAnswer, deadline):
            name, seed, followed = result.job.case, result.job.request["seed"], result.answer
            if followed is None:
                self.fail(name, "convergence", result.reason)
            elif followed.curve is None or followed.detail is None:
                recorder.skip(name, followed.skipped or "no reason given", "convergence")
            elif (followed.curve.seed, followed.detail.seed) != (seed, seed):
                self.fail(name, "convergence", f"{result.job.label}answered for another seed")
            else:
                recorder.add_curve(name, followed.curve, followed.detail)
            self.tell("training", name)

    def _side_by_side(self, jobs: list[Job], stem: str, kind: type[T], deadline: float | None) -> Iterator[Result[T]]:
        """The results of `jobs` as they come, from a worker a core; on a GPU from one worker."""
        if not jobs or (deadline is not None and monotonic() > deadline):
            return
        on_cpu = self.recorder.run.device == "cpu"
        sides = isolation.side_by_side(self.options.threads, self.cores) if on_cpu else [[]]
        workers = [self.worker(f"{stem}-{n}", cores, torch_first=True) for n, cores in enumerate(sides[: len(jobs)])]
        with closing(ask_all(jobs, workers, kind, deadline)) as results:
            yield from results
        for worker in workers:
            worker.end()

    def end(self, ended_by: str | None = None) -> None:
        """Record that the session is over: finished, or ended by what `ended_by` names."""
        recorder = self.recorder
        if ended_by is None:
            recorder.end()
        else:
            with contextlib.suppress(InputError):  # the end may be that nothing can be written any more
                recorder.end(ended_by)

    def fail(self, name: str, gate: str, reason: str) -> None:
        """What `gate` needs of a case could not be measured, for this reason."""
        self.trouble()
        self.recorder.fail(name, gate, reason)

    def trouble(self) -> None:
        """What the measured processes printed is worth keeping."""
        self._troubled = True

    def worker(
        self,
        name: str,
        cores: Sequence[int] = (),
        *,
        torch_first: bool = False,
        site: Environment | None = None,
        huge_pages: bool = False,
    ) -> Worker:
        """A worker of this session, in its environment unless `site` names another; it ends with the session."""
        worker = Worker(
            self.scratch,
            name,
            threads=self.options.threads,
            stage=self.stage,
            cores=cores,
            torch_first=torch_first,
            implementation=self.options.implementation,
            site=site or self.site,
            device=self.options.device,
            huge_pages=huge_pages,
        )
        self._workers.append(worker)
        return worker

    def _here(self, name: str) -> Worker:
        """A worker of this interpreter, whatever is measured: data sets are made where the coordinator is."""
        return self.worker(name, site=Here())

    @property
    def recorder(self) -> Recorder:
        """What takes the results."""
        assert self._recorded is not None, "prepare() comes first"
        return self._recorded

    def expect(self, measurements: int) -> None:
        """So many more measurements will be told of."""
        self._total += measurements

    def tell(self, stage: str, label: str) -> None:
        """One more measurement is done."""
        self._done += 1
        self._listen(Progress(stage, label, self._done, self._total))
