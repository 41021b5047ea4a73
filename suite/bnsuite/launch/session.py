"""A session: the processes, scratch files and data of one run in one environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from bnsuite import __version__
from bnsuite.launch.datasets import DataStage
from bnsuite.launch.environments import Environment, Here, Notify
from bnsuite.launch.plan import NOT_COMPARED, on_device, with_limits
from bnsuite.launch.prepared import PreparedSession
from bnsuite.launch.process import isolation
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.launch.process.scratch import scratch_folder
from bnsuite.launch.process.worker import START_UP_S, Worker
from bnsuite.launch.progress import ProgressCounter
from bnsuite.launch.queries import ask_environment, catalogue
from bnsuite.launch.revision import revision
from bnsuite.launch.room import Room
from bnsuite.record.errors import InputError
from bnsuite.record.folder import LOG
from bnsuite.record.recorder import Recorder
from bnsuite.record.schema import CaseResult, EnvironmentInfo, Isolation, Outcome, PlannedCase, Run, RunOptions, Status

if TYPE_CHECKING:
    from typing_extensions import Self

#: The most that is copied of one log, from its end.
MAX_LOG_COPY_BYTES = 4 << 20
#: Said of a run on a CUDA that is a name, when it begins and at its end.
REHEARSAL = (
    "REHEARSAL: torch's CUDA is a name here; this run proves nothing about kernels, numerics, memory or times of a GPU"
)
#: The extra of this package that brings another one.
EXTRAS = {"keras": "keras", "onnx": "onnx", "onnxruntime": "onnx", "onnxscript": "onnx"}


class Session:
    """The processes and scratch files of one run.

    A context manager: leaving it ends every process, closes the environment, and removes the scratch files. `stage`
    holds the data sets, if they are shared with another session; `notify` hears of what takes minutes; `place` follows
    the stages of its progress, where they need to be told apart; `injected` is a known fault of all timed cases.
    """

    def __init__(
        self,
        options: RunOptions,
        folder: Path,
        progress: ProgressCounter,
        data: Path | None = None,
        environment: Environment | None = None,
        *,
        stage: DataStage | None = None,
        notify: Notify = lambda _: None,
        place: str = "",
        injected: Mapping[str, float] | None = None,
    ) -> None:
        self.options, self.folder, self.progress = options, folder, progress
        self.place, self._notify = place, notify
        self._injected = dict(injected or {})
        #: The cores of distributed cases' ranks, if there are such cases.
        self._rank_cores: tuple[int, ...] = ()
        self.environment = environment or Here()
        self._began = monotonic()
        self._scratch = scratch_folder()
        self.scratch = Path(self._scratch.name)
        self.stage = stage or DataStage(self.scratch / "data", data)
        self._workers: list[Worker] = []
        self.cores = isolation.cores()
        self.timed_cores = isolation.timed_cores(options.threads, self.cores)
        self._keep_logs = False
        #: The process that tells of the environment, and then of kernels. It ends with the thread that starts it.
        self.query: Worker
        self._beside = ThreadPoolExecutor(1)
        #: Problems that spoil no measurement.
        self.warnings: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()
        self._beside.shutdown()
        self.environment.close()
        if self._keep_logs:
            with contextlib.suppress(OSError):
                log = self.folder / LOG
                log.mkdir(exist_ok=True)
                for file in self.scratch.glob("*.txt"):
                    _copy_end(file, log / file.name)
                self.warnings.append(f"what the measured processes printed is in {log}/")
        self._scratch.cleanup()

    def prepare(self, accepts: Callable[[PlannedCase], bool] = lambda _: True) -> PreparedSession:
        """Makes sure of the environment, chooses the cases that `accepts` takes, and makes the data.

        Nothing is written before :meth:`PreparedSession.begin`. Raises InputError if that can't be, and
        NotMeasuredError if a process that should answer fails.
        """
        options = self.options
        self.environment.prepare(self._notify)
        query = self.query = self.worker("environment", torch_first=options.replaces)
        limit_s = options.timeout_s if options.replaces else START_UP_S
        answer = self._beside.submit(ask_environment, options.device, query, limit_s, goes_on=True)
        try:
            plan = catalogue(options.profile, options.select, self.stage.source, self.worker("catalogue"))
            plan = [case for case in plan if accepts(case)]
            if not plan:
                raise InputError(f"-k {options.select!r} {NOT_COMPARED}")
            self._make_data(case for case in plan if not case.gpu_only)
            device, info = answer.result()
            self.options = on_device(options, device)
        except BaseException:
            query.close()
            raise
        self.environment.check(info)
        if info.image is not None and info.image.gpus == "cdi":
            name = self.environment.name
            self.warnings.append(f"{name}: the engine refused the request of --gpus and gave it the GPUs by CDI")
        if info.rehearsal:
            self.warnings.append(REHEARSAL)
            self._notify(REHEARSAL)
        if device != "cpu":
            self.timed_cores = isolation.timed_cores(options.threads, self.cores, on_gpu=True, near=_cores_near(info))
        fitting = [case for case in plan if device != "cpu" or not case.gpu_only]
        room = Room.of(info, len(self.cores), len(self.timed_cores), shared=options.oversubscribe)
        chosen = [case for case in fitting if room.has(case)]
        if not chosen:
            raise InputError(room.why_none(len(plan), fitting))
        missing = self._make_data(chosen)
        if any(case.ranks > 1 for case in chosen):
            self._rank_cores = tuple(self.cores)
        run = self._run(device, info, chosen, len(plan) - len(chosen))
        run = run.model_copy(update={"left_out_ranks": len(fitting) - len(chosen)})
        recorder = Recorder(run, self.folder, self._began)
        for case in chosen:
            if reason := _missing(case, missing):
                recorder.skip(case.id, reason)
        return PreparedSession(self, recorder)

    def _make_data(self, cases: Iterable[PlannedCase]) -> dict[str, str]:
        """Makes the data sets of `cases` in this interpreter, whatever is measured; returns why any are missing."""
        names = {case.dataset for case in cases if case.dataset and not case.lacks}
        return self.stage.make(names, lambda: self.worker("stage", environment=Here()))

    def _run(self, device: str, info: EnvironmentInfo, cases: Sequence[PlannedCase], left_out: int) -> Run:
        """Returns the run, still empty."""
        return Run(
            schema=Run.SCHEMA,
            bnsuite=__version__,
            revision=revision(),
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            wall_s=0.0,
            finished=False,
            options=self.options,
            device=device,
            environment=info,
            isolation=self._isolation(info),
            cases=tuple(
                CaseResult(
                    case=with_limits(case, self.options, device),
                    outcomes={gate: Outcome(status=Status.PENDING) for gate in case.gates},
                )
                for case in cases
            ),
            left_out=left_out,
            injected=self._injected,
        )

    def _isolation(self, info: EnvironmentInfo) -> Isolation:
        """Returns the isolation as the measured processes got it, by what one of them reports."""
        names = isolation.variables(self.options.threads)
        not_applied = [f"{name} did not reach the measured process" for name in names if name not in info.variables]
        if info.threads != self.options.threads:
            not_applied.append(f"torch uses {info.threads} threads, not {self.options.threads}")
        if not self.timed_cores:
            not_applied.append(f"no core to spare for timing: {len(self.cores)} given")
        if (near := _cores_near(info)) and self.timed_cores and not near & set(self.timed_cores):
            not_applied.append("none of the cores given is on the GPU's NUMA node")
        return Isolation(
            variables={name: info.variables[name] for name in names if name in info.variables},
            timed_cores=tuple(self.timed_cores),
            not_applied=tuple(not_applied),
        )

    def keep_logs(self) -> None:
        """Has the output of the measured processes copied into the folder of results in the end."""
        self._keep_logs = True

    def worker(
        self,
        label: str,
        cores: Iterable[int] = (),
        *,
        torch_first: bool = False,
        environment: Environment | None = None,
        huge_pages: bool = False,
    ) -> Worker:
        """Returns a worker, in the session's environment unless another is given; it ends with the session."""
        options = self.worker_options(label, cores, torch_first=torch_first, huge_pages=huge_pages)
        worker = Worker(options, environment or self.environment)
        self._workers.append(worker)
        return worker

    def worker_options(
        self, label: str, cores: Iterable[int] = (), *, torch_first: bool = False, huge_pages: bool = False
    ) -> WorkerOptions:
        """Returns the options of a process of this session."""
        return WorkerOptions(
            label=label,
            scratch=self.scratch,
            stage=self.stage.folder,
            threads=self.options.threads,
            cores=tuple(cores),
            device=self.options.device,
            implementation=self.options.implementation,
            supports=self.options.supports,
            functions=self.options.functions,
            cases=self.options.cases,
            workloads=self.options.workloads,
            huge_pages=huge_pages,
            torch_first=torch_first,
            rank_cores=self._rank_cores,
            oversubscribe=self.options.oversubscribe,
            injected=self._injected,
        )


def _cores_near(info: EnvironmentInfo) -> set[int]:
    """Returns the cores on the NUMA node of the GPU that is measured, as far as they are known."""
    facts = info.gpu.nvml if info.gpu is not None else None
    return set(facts.cores or ()) if facts is not None else set()


def _missing(case: PlannedCase, missing: dict[str, str]) -> str | None:
    """Returns why a case can't be measured here, with the way to have it measured; None if it can."""
    if case.lacks:
        extras = {EXTRAS[package] for package in case.lacks if package in EXTRAS}
        packages = f"'bnsuite[{','.join(sorted(extras))}]'" if extras else " ".join(case.lacks)
        verb = "is" if len(case.lacks) == 1 else "are"
        return f"{', '.join(case.lacks)} {verb} not installed; pip install {packages}"
    return missing.get(case.dataset or "")


def _copy_end(source: Path, target: Path) -> None:
    """Copies the end of a log, no more than MAX_LOG_COPY_BYTES of it."""
    with source.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - MAX_LOG_COPY_BYTES))
        target.write_bytes(log.read(MAX_LOG_COPY_BYTES))
