"""A prepared session: its cases are chosen, its data are there, and it can measure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from bnsuite.launch.process import isolation
from bnsuite.launch.process.messages import (
    CheckAnswer,
    DiagnosisAnswer,
    KernelsAnswer,
    TrainingAnswer,
    shorten,
)
from bnsuite.launch.process.pool import Job, Result, ask_all
from bnsuite.launch.process.worker import TIMEOUT
from bnsuite.record.diagnosis import Diagnosis
from bnsuite.record.errors import InputError, NotMeasuredError
from bnsuite.record.files import make_folder
from bnsuite.record.schema import CHECK_GATES, Run

if TYPE_CHECKING:
    from bnsuite.launch.session import Session
    from bnsuite.record.recorder import Recorder

T = TypeVar("T")


class PreparedSession:
    """One run that is ready to be measured, by a session that is open."""

    def __init__(self, session: Session, recorder: Recorder) -> None:
        self.session, self.recorder = session, recorder
        self.options, self.environment, self.progress = session.options, session.environment, session.progress
        self.progress.expect(len(recorder.ids("convergence")) * len(session.options.seeds))
        self.progress.expect(sum(len(recorder.ids(gate)) for gate in CHECK_GATES))

    @property
    def run(self) -> Run:
        """The run as far as it is measured."""
        return self.recorder.run

    @property
    def device(self) -> str:
        """The device that is measured, "cpu" or "cuda:N"."""
        return self.recorder.run.device

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
        for name in names:
            if deadline is not None and monotonic() > deadline:
                break
            request = {"do": "kernels", "case": name, "device": self.device}
            try:
                answer = worker.ask(request, KernelsAnswer, self.options.timeout_s)
            except NotMeasuredError as error:
                self.session.keep_logs()
                self.recorder.leave_out(name, "kernels", shorten(str(error)))
            else:
                if answer.kernels is None:
                    self.recorder.leave_out(name, "kernels", answer.skipped or "no reason given")
                else:
                    self.recorder.add_kernels(name, answer.kernels)
            self.progress.advance(f"looking at kernels{self.session.place}", name)
        worker.end()

    def run_checks(self, deadline: float | None = None) -> None:
        """Runs every check, in parallel over the cores; those open at `deadline` (monotonic) stay open."""
        recorder = self.recorder
        gates = {name: gate for gate in CHECK_GATES for name in recorder.ids(gate)}
        limits_s = {one.id: one.case.limit_s for one in recorder.run.cases}
        jobs = [
            Job(
                name,
                "",
                {"do": "check", "case": name, "device": self.device},
                limits_s[name] or self.options.timeout_s,
                "the limit of this check" if limits_s[name] else TIMEOUT,
            )
            for name in gates
        ]
        for result in self._results(jobs, "check", CheckAnswer, deadline):
            name = result.job.case
            if result.answer is None:
                self.fail(name, gates[name], result.reason)
            elif result.answer.skipped is not None:
                recorder.skip(name, result.answer.skipped, gates[name])
            else:
                recorder.add_observations(name, gates[name], result.answer.observations)
            self.progress.advance(f"checking{self.session.place}", name)

    def run_trainings(self, deadline: float | None = None) -> None:
        """Trains every case that has a convergence gate once per seed, in parallel over the cores, until `deadline`."""
        recorder = self.recorder
        jobs = [
            Job(
                name,
                f"seed {seed}: ",
                {"do": "curve", "case": name, "seed": seed, "device": self.device},
                self.options.timeout_s,
            )
            for seed in self.options.seeds
            for name in recorder.ids("convergence")
        ]
        for result in self._results(jobs, "train", TrainingAnswer, deadline):
            name, seed, answer = result.job.case, result.job.request["seed"], result.answer
            if answer is None:
                self.fail(name, "convergence", result.reason)
            elif answer.curve is None or answer.detail is None:
                recorder.skip(name, answer.skipped or "no reason given", "convergence")
            elif (answer.curve.seed, answer.detail.seed) != (seed, seed):
                self.fail(name, "convergence", f"{result.job.label}answered for another seed")
            else:
                recorder.add_curve(name, answer.curve, answer.detail)
            self.progress.advance(f"training{self.session.place}", name)

    def end(self, ended_by: str | None = None) -> None:
        """Records that the run is finished, or what ended it before."""
        if ended_by is None:
            self.recorder.end()
        else:
            with contextlib.suppress(InputError):  # the end may be that nothing can be written any more
                self.recorder.end(ended_by)

    def fail(self, name: str, gate: str, reason: str) -> None:
        """Records that the measurement for `gate` of a case failed, and keeps the logs."""
        self.session.keep_logs()
        self.recorder.fail(name, gate, reason)

    def _results(self, jobs: list[Job], stem: str, kind: type[T], deadline: float | None) -> Iterator[Result[T]]:
        """Yields the results of `jobs` as they come, from one worker per core; on a GPU from one worker."""
        if not jobs or (deadline is not None and monotonic() > deadline):
            return
        session = self.session
        on_cpu = self.device == "cpu"
        cores = isolation.pool_cores(self.options.threads, session.cores) if on_cpu else [[]]
        workers = [session.worker(f"{stem}-{n}", some, torch_first=True) for n, some in enumerate(cores[: len(jobs)])]
        with closing(ask_all(jobs, workers, kind, deadline)) as results:
            yield from results
        for worker in workers:
            worker.end()
