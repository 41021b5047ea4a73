"""A prepared session: its cases are chosen, its data are there, and it can measure."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from bnsuite.launch.order import telling
from bnsuite.launch.plan import GPU_CHECKERS, GPU_TRAINERS, gpu_workers, turn
from bnsuite.launch.process import isolation
from bnsuite.launch.process.messages import (
    CheckAnswer,
    DiagnosisAnswer,
    KernelsAnswer,
    ProbeAnswer,
    TrainingAnswer,
    shorten,
)
from bnsuite.launch.process.pool import Job, Result, ask_all
from bnsuite.launch.process.stream import SilentError
from bnsuite.launch.process.worker import TIMEOUT
from bnsuite.launch.queries import ask_condition
from bnsuite.record.diagnosis import Diagnosis
from bnsuite.record.durations import launches_of, seeds_of
from bnsuite.record.errors import InputError, NotMeasuredError
from bnsuite.record.files import make_folder
from bnsuite.record.schema import CHECK_GATES, PlannedCase, Run, Status
from bnsuite.record.workloads import workload_of

if TYPE_CHECKING:
    from bnsuite.launch.session import Session
    from bnsuite.record.recorder import Recorder

T = TypeVar("T")

#: The most that a fresh process may take to compute a number on the GPU.
PROBE_S = 120.0
#: Reasons of failures that a GPU may have caused, or its driver: its errors by name, and processes that ended or hung.
_OF_GPU = re.compile(r"CUDA|cuDNN|CUDNN|CUBLAS|NCCL|NVML|NVIDIA|--device|process|no answer|no result")

#: Words of a probe that failed for want of room: the GPU is there, and other processes have it.
_NOT_LOST = re.compile(r"out of memory|busy or unavailable|exclusive|prohibited", re.IGNORECASE)


class GpuLostError(NotMeasuredError):
    """The GPU computes nothing any more, not even for a fresh process; the message says how many cases were left."""

    def __init__(self, device: str, trouble: str, left: int) -> None:
        number = device.partition(":")[2] or 0
        cases = f"; {left} case{'' if left == 1 else 's'} not measured" if left else ""
        super().__init__(
            f"the GPU was lost ({device}): {shorten(trouble)}{cases}; look for Xid errors in `dmesg`, reset the GPU "
            f"(`sudo nvidia-smi --gpu-reset -i {number}`) or restart the host or container, and measure again"
        )


class PreparedSession:
    """One run that is ready to be measured, by a session that is open."""

    def __init__(self, session: Session, recorder: Recorder) -> None:
        self.session, self.recorder = session, recorder
        self.options, self.environment, self.progress = session.options, session.environment, session.progress
        self._planned = {one.id: one.case for one in recorder.run.cases}
        self.progress.expect(sum(len(self.seeds_of(name)) for name in recorder.ids("convergence")))
        self.progress.expect(sum(len(recorder.ids(gate)) for gate in CHECK_GATES))

    @property
    def run(self) -> Run:
        """The run as far as it is measured."""
        return self.recorder.run

    @property
    def device(self) -> str:
        """The device that is measured, "cpu" or "cuda:N"."""
        return self.recorder.run.device

    @property
    def cases(self) -> list[PlannedCase]:
        """The cases that can be measured; in a run that may be cut off, and on a GPU, the most telling first."""
        alive = {name for gate in (*CHECK_GATES, "timing", "convergence") for name in self.recorder.ids(gate)}
        cases = [case for name, case in self._planned.items() if name in alive]
        return telling(cases) if self.is_ordered else cases

    @property
    def is_ordered(self) -> bool:
        """The order of cases counts: the run has a budget, or is of a GPU, which is often borrowed."""
        return self.options.budget_s is not None or self.device != "cpu"

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """Returns the seeds of a training that are recorded."""
        return seeds_of(self.options, self._planned[name])

    def launches_of(self, name: str) -> int:
        """Returns the launches in which a case is timed."""
        return launches_of(self.options, self._planned[name])

    def workers(self, most_on_gpu: int) -> list[list[int]]:
        """Returns the cores of each worker of a pool: none for workers on a GPU, as many as share it."""
        cores = isolation.pool_cores(self.options.threads, self.session.cores)
        if self.device == "cpu":
            return cores
        return [[]] * (gpu_workers(most_on_gpu, len(cores), self._free_bytes) if self._is_shareable else 1)

    @cached_property
    def _free_bytes(self) -> int:
        """The free memory of the GPU before the measuring; all of it where NVML can't tell what is in use."""
        gpu = self.run.environment.gpu
        if gpu is None:
            return 0
        now = ask_condition(self.device)
        is_same = now is not None and (gpu.nvml is None or gpu.nvml.uuid == now.uuid)
        return gpu.memory_total_bytes - (now.used_bytes or 0 if now is not None and is_same else 0)

    @property
    def _is_shareable(self) -> bool:
        """Several processes may use the GPU: it is not in a mode that gives it to one alone, as far as is known."""
        gpu = self.run.environment.gpu
        return gpu is None or gpu.nvml is None or not gpu.nvml.compute_mode

    def begin(self) -> None:
        """Makes the folder of results and writes the run into it: empty, and from now on after each measurement."""
        make_folder(self.session.folder)
        self.recorder.begin()

    def diagnose(self) -> None:
        """Records how an implementation's results differ from batch norm, if the run is of one; costs a second or two.

        A failure of the process is recorded as well: it spoils no measurement.
        """
        if self.options.implementation is None:
            return
        worker = self.session.worker("diagnosis", torch_first=True)
        request = {"do": "diagnose", "device": self.device}
        try:
            found = worker.ask(request, DiagnosisAnswer, self.options.timeout_s).diagnosis
        except NotMeasuredError as error:
            self.session.keep_logs()
            found = Diagnosis(looked_at=None, refusals=(), deviations=(), failed=shorten(str(error)))
        worker.end()
        self.recorder.add_diagnosis(found)

    def look_at_kernels(self, deadline: float | None = None) -> None:
        """Records what a step of every case with that gate launches; those open at `deadline` (monotonic) stay open.

        The process that told of the environment does it, which has torch; then it ends. A case that can't be looked at
        is left out with the reason, since times are measured all the same.
        """
        worker = self.session.query
        names = self.recorder.ids("kernels")
        self.progress.expect(len(names))
        silent: dict[str, str] = {}
        for name in names:
            if deadline is not None and monotonic() > deadline:
                break
            request = {"do": "kernels", "case": name, "device": self.device}
            of = workload_of(name)
            try:
                if of in silent:
                    raise NotMeasuredError(silent[of])
                answer = worker.ask(request, KernelsAnswer, self.options.timeout_s)
            except NotMeasuredError as error:
                self.session.keep_logs()
                self.recorder.leave_out(name, "kernels", shorten(str(error)))
                if of and isinstance(error, SilentError):
                    silent[of] = f"not tried: {name} gave {error}"
                self._require_gpu(str(error))
            else:
                if answer.kernels is None:
                    self.recorder.leave_out(name, "kernels", answer.skipped or "no reason given")
                else:
                    self.recorder.add_kernels(name, answer.kernels)
            self.progress.advance(f"looking at kernels{self.session.place}", name)
        worker.end()

    def run_checks(self, deadline: float | None = None) -> None:
        """Runs every check, in parallel over the cores, or sharing the GPU, until `deadline` (monotonic)."""
        recorder = self.recorder
        gates = {name: gate for gate in CHECK_GATES for name in recorder.ids(gate)}
        order = [case.id for case in self.cases if case.id in gates] if self.is_ordered else list(gates)
        limits_s = {one.id: one.case.limit_s for one in recorder.run.cases}
        jobs = [
            Job(
                name,
                "",
                {"do": "check", "case": name, "device": self.device},
                limits_s[name] or self.options.timeout_s,
                "the limit of this check" if limits_s[name] else TIMEOUT,
                turn(self._planned[name], self.device),
                workload_of(name) or "",
            )
            for name in order
        ]
        for result in self._results(jobs, "check", CheckAnswer, self.workers(GPU_CHECKERS), deadline):
            name = result.job.case
            if result.answer is None:
                self.fail(name, gates[name], result.reason)
            elif result.answer.skipped is not None:
                recorder.skip(name, result.answer.skipped, gates[name])
            else:
                recorder.add_observations(name, gates[name], result.answer.observations, result.took_s)
            self.progress.advance(f"checking{self.session.place}", name)

    def run_trainings(self, deadline: float | None = None) -> None:
        """Trains every case that has a convergence gate once per seed, in parallel as checks are, until `deadline`."""
        recorder = self.recorder
        trained = set(recorder.ids("convergence"))
        if self.is_ordered:  # all seeds of a case before the next one
            pairs = [(one.id, seed) for one in self.cases if one.id in trained for seed in self.seeds_of(one.id)]
        else:
            pairs = [(name, seed) for seed in self.options.seeds for name in recorder.ids("convergence")]
        jobs = [
            Job(
                name,
                f"seed {seed}: ",
                {"do": "curve", "case": name, "seed": seed, "device": self.device},
                self.options.timeout_s,
            )
            for name, seed in pairs
        ]
        for result in self._results(jobs, "train", TrainingAnswer, self.workers(GPU_TRAINERS), deadline):
            name, seed, answer = result.job.case, result.job.request["seed"], result.answer
            if answer is None:
                self.fail(name, "convergence", result.reason)
            elif answer.curve is None or answer.detail is None:
                recorder.skip(name, answer.skipped or "no reason given", "convergence")
            elif (answer.curve.seed, answer.detail.seed) != (seed, seed):
                self.fail(name, "convergence", f"{result.job.label}answered for another seed")
            else:
                recorder.add_curve(name, answer.curve, answer.detail, result.took_s)
            self.progress.advance(f"training{self.session.place}", name)

    def end(self, ended_by: str | None = None) -> None:
        """Records that the run is finished, or what ended it before."""
        if ended_by is None:
            self.recorder.end()
        else:
            with contextlib.suppress(InputError):  # the end may be that nothing can be written any more
                self.recorder.end(ended_by)

    def fail(self, name: str, gate: str, reason: str) -> None:
        """Records that the measurement for `gate` of a case failed, and keeps the logs.

        Raises GpuLostError if it looks like the GPU's fault, and a fresh process can't compute on the GPU either: no
        other case can be measured then.
        """
        self.session.keep_logs()
        self.recorder.fail(name, gate, reason)
        self._require_gpu(reason)

    def _require_gpu(self, reason: str) -> None:
        """Raises GpuLostError if a failure for `reason` is the GPU's, which computes nothing any more."""
        if self.device == "cpu" or not _OF_GPU.search(reason):
            return
        worker = self.session.worker("probe")
        try:
            trouble = worker.ask({"do": "probe", "device": self.device}, ProbeAnswer, PROBE_S, "the limit").trouble
        except NotMeasuredError as error:
            trouble = str(error)
        finally:
            worker.end()
        if trouble is not None and not _NOT_LOST.search(trouble):
            cases = self.recorder.run.cases
            open_ = sum(any(one.status is Status.PENDING for one in case.outcomes.values()) for case in cases)
            raise GpuLostError(self.device, trouble, open_)

    def _results(
        self, jobs: list[Job], stem: str, kind: type[T], cores: list[list[int]], deadline: float | None
    ) -> Iterator[Result[T]]:
        """Yields the results of `jobs` as they come, from a worker on each of `cores`."""
        if not jobs or (deadline is not None and monotonic() > deadline):
            return
        workers = [
            self.session.worker(f"{stem}-{n}", some, torch_first=True) for n, some in enumerate(cores[: len(jobs)])
        ]
        with closing(ask_all(jobs, workers, kind, deadline)) as results:
            yield from results
        for worker in workers:
            worker.end()
