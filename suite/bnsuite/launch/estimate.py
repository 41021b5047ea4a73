"""The time that a run will take by plan: by an earlier run on this machine, or by a model and its allowances.

A stage is estimated measurement by measurement. What an earlier run recorded of a case comes first, then a model of the
step that was accepted as its baseline, then an allowance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bnsuite.launch.order import family
from bnsuite.launch.plan import turn, with_limits
from bnsuite.record.durations import launches_of
from bnsuite.record.planned import Estimate, StagePlan
from bnsuite.record.schema import CHECK_GATES, PlannedCase, RunOptions


@dataclass(frozen=True)
class Allowances:
    """Seconds for what no earlier run has told, on one kind of device."""

    #: The start of a process, until its first case.
    start_s: float
    #: A timed case without its warm-up and rounds: two builds, the controls, and the passes for memory.
    around_s: float
    #: The same of a case that is compiled, on average over the launches of a run; the first one fills the cache.
    compiled_s: float
    #: A step of a training.
    step_s: float
    #: A seed of a training, or its part in a launch, without its steps.
    training_s: float
    #: The look at the kernels of a case.
    kernels_s: float
    #: A check, and one of each family that takes much longer.
    check_s: float
    checks_s: Mapping[str, float]
    #: The speed of a worker that shares the device with others, of one that has it alone.
    sharing: float


#: Means of each family on two shared virtual cores, busy with other work, with torch 2.14.1: those above 0.1 s, and
#: those of large families that take less than others.
CHECKS_S = {
    "compile": 3.0,
    "data-parallel": 2.3,
    "determinism": 0.5,
    "sync-batch-norm": 0.7,
    "higher-order": 0.15,
    "forward-mode": 0.15,
    "memory-leaks": 0.2,
    "reference": 0.15,
    "validation": 0.25,
    "channel-counts": 0.025,
    "constant-slices": 0.01,
    "folding": 0.03,
    "other-norms": 0.025,
    "update-bn": 0.03,
}
#: Measured on the same machine.
CPU = Allowances(
    start_s=5.0,
    around_s=0.25,
    compiled_s=8.0,
    step_s=1e-3,
    training_s=0.3,
    kernels_s=0.1,
    check_s=0.05,
    checks_s=CHECKS_S,
    sharing=1.0,
)
#: Assumed, and not measured on a GPU. A training's step and a check are bound by their launches on the host; a graph or
#: a collective takes as long as there; a large tensor has a process of its own; a forked child makes a context anew.
CUDA = Allowances(
    start_s=6.0,
    around_s=0.1,
    compiled_s=2.0,
    step_s=7e-4,
    training_s=0.15,
    kernels_s=0.05,
    check_s=0.05,
    checks_s={**CHECKS_S, "large-tensor": 6.0, "cuda-graphs": 0.1, "validation": 2.0, "sync-batch-norm": 2.3},
    sharing=0.75,
)
ALLOWANCES = {"cpu": CPU, "cuda": CUDA}


@dataclass(frozen=True)
class Known:
    """What is known of the durations on this machine."""

    #: Seconds by gate and case, of an earlier run.
    took_s: Mapping[tuple[str, str], float] = field(default_factory=dict)
    #: Seconds per step (of a training: per epoch) by case, as accepted.
    step_s: Mapping[str, float] = field(default_factory=dict)


class Estimator:
    """Estimates on one device, "cpu" or "cuda:N"; nothing of it needs the device."""

    def __init__(self, device: str, options: RunOptions, known: Known | None = None) -> None:
        self._kind = device.partition(":")[0]
        self._device, self._options, self._known = device, options, known or Known()
        self.allowances = ALLOWANCES.get(self._kind, CUDA)

    def check_s(self, case: PlannedCase) -> tuple[float, bool]:
        """Returns the seconds of one check, and whether they are known from this machine."""
        for gate in CHECK_GATES:
            if (seconds := self._known.took_s.get((gate, case.id))) is not None:
                return seconds, True
        return self.allowances.checks_s.get(family(case), self.allowances.check_s), False

    def seed_s(self, case: PlannedCase) -> tuple[float, bool]:
        """Returns the same of one seed of a training."""
        if (seconds := self._known.took_s.get(("convergence", case.id))) is not None:
            return seconds, True
        return self._steps_s(case, "convergence")

    def timing_s(self, case: PlannedCase) -> tuple[float, bool]:
        """Returns the same of one case in one launch."""
        if (seconds := self._known.took_s.get(("timing", case.id))) is not None:
            return seconds, True
        warm_s = case.timed_s.get(self._kind, 0.0)
        if case.kind == "training":
            seconds, known = self._steps_s(case, "timing")
            return warm_s + seconds, known
        compiled = case.labels.get("execution") == "compiled" or case.labels.get("comparison") == "compiled-vs-eager"
        around_s = self.allowances.compiled_s if compiled else self.allowances.around_s
        step_s = self._known.step_s.get(case.id)
        return max(warm_s, 10 * (step_s or 0.0)) + around_s, step_s is not None

    def _steps_s(self, case: PlannedCase, gate: str) -> tuple[float, bool]:
        steps, epoch = case.steps.get(gate, 0), case.steps.get("epoch", 0)
        epoch_s = self._known.step_s.get(case.id)
        if epoch_s is not None and epoch:
            return self.allowances.training_s + epoch_s * steps / epoch, True
        return self.allowances.training_s + steps * self.allowances.step_s, False

    def launches_of(self, case: PlannedCase) -> int:
        """Returns the launches in which a case is timed."""
        return launches_of(self._options, with_limits(case, self._options, self._device))

    def launch_s(self, cases: Iterable[PlannedCase]) -> float:
        """Returns the seconds of one launch of `cases`."""
        return self.allowances.start_s + sum(self.timing_s(case)[0] for case in cases)

    def of(self, cases: Sequence[PlannedCase], *, checkers: int, trainers: int, launches: int) -> Estimate:
        """Returns the plan of a run of `cases` with so many workers, and processes that time."""
        checks = [one for one in cases if one.kind == "check"]
        alone_s = sum(self.check_s(one)[0] for one in checks if turn(one, self._device))
        curves = [
            self.seed_s(one)
            for one in cases
            if "convergence" in one.gates
            for _ in self._options.seeds[: with_limits(one, self._options, self._device).most_seeds]
        ]
        timed = [self.timing_s(one) for one in cases if "timing" in one.gates for _ in range(self.launches_of(one))]
        cases_timed = sum("timing" in one.gates for one in cases)
        looked_at = [(self.allowances.kernels_s, False) for one in cases if "kernels" in one.gates]
        stages = {
            "kernels": _stage(looked_at, 0.0, len(looked_at)),
            "checks": self._in_pool([self.check_s(one) for one in checks], checkers, alone_s),
            "trainings": self._in_pool(curves, trainers),
            "timing": _stage(timed, launches * self.allowances.start_s, cases_timed),
        }
        return Estimate(
            stages={name: stage for name, stage in stages.items() if stage.measurements},
            launches=self._options.launches,
            seeds=len(self._options.seeds),
        )

    def _in_pool(self, jobs: Sequence[tuple[float, bool]], workers: int, alone_s: float = 0.0) -> StagePlan:
        """Returns a stage of `jobs` in so many workers; of those that wait for one another `alone_s` is the sum."""
        if not jobs:
            return StagePlan(0, 0.0)
        workers = min(workers, len(jobs))
        speed = 1.0 if workers == 1 else workers * self.allowances.sharing
        stage = _stage(jobs, 0.0, len(jobs))
        longest = max(seconds for seconds, _ in jobs)
        return StagePlan(len(jobs), self.allowances.start_s + max(longest, alone_s, stage.seconds / speed), stage.known)


def _stage(jobs: Sequence[tuple[float, bool]], more_s: float, measurements: int) -> StagePlan:
    total = sum(seconds for seconds, _ in jobs)
    known = sum(seconds for seconds, is_known in jobs if is_known)
    return StagePlan(measurements, more_s + total if jobs else 0.0, known / total if total else 0.0)
