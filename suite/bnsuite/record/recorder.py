"""The run in the making: records results as they come and saves the run after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from bnsuite.record import details, store
from bnsuite.record.details import Detail
from bnsuite.record.diagnosis import Diagnosis
from bnsuite.record.durations import BUDGET
from bnsuite.record.launched import LaunchedKernels
from bnsuite.record.schema import CaseResult, Curve, Observation, Outcome, Run, RunKind, Status, Timing

MEASURED = Outcome(status=Status.MEASURED)

#: Observations of checks may wait so long to be written.
SAVED_EVERY_S = 1.0


class Recorder:
    """The run of one session; every change is on disk when the call returns, except for observations of checks.

    Nothing is written before :meth:`begin`, and while something is timed it need not be: see :meth:`batch`.
    """

    def __init__(self, run: Run, folder: Path, began: float) -> None:
        self.run, self._folder, self._began = run, folder, began
        self._details: dict[str, list[Detail]] = {}
        self._texts: dict[str, tuple[CaseResult, str]] = {}
        self._saved, self._deferred = began, True

    def begin(self) -> None:
        """Writes the run, and from now on every change."""
        self._deferred = False
        self._save()

    def is_side(self, side: str, injected: dict[str, float]) -> None:
        """Record that the run is a side of a comparison, and the fault that is injected into it."""
        self.run = self.run.model_copy(update={"kind": RunKind.SIDE, "side": side, "injected": injected})

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Saves the changes made within it at its end, all at once."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
            self._save()

    def ids(self, gate: str) -> list[str]:
        """Returns the cases that `gate` judges and that have neither failed nor been skipped."""
        return [
            result.id
            for result in self.run.cases
            if gate in result.outcomes and result.outcomes[gate].status not in {Status.FAILED, Status.SKIPPED}
        ]

    def undisturbed(self, name: str, *, confirms: bool) -> int:
        """Returns how many launches of a case count, of those made to confirm or of the others."""
        (result,) = (one for one in self.run.cases if one.id == name)
        return sum(timing.confirms is confirms for timing in result.undisturbed)

    def add_timing(self, name: str, timing: Timing, took_s: float | None = None) -> None:
        """Adds one launch of a case, which took so many seconds with all that belongs to it."""
        self._change(
            name,
            lambda old: {
                "timings": (*old.timings, timing),
                "took_s": _took(old, "timing", took_s),
                "outcomes": _measured(old, "timing", "memory"),
            },
        )

    def add_curve(self, name: str, curve: Curve, detail: Detail, took_s: float | None = None) -> None:
        """Adds one seed of a training; curves are in the order of their seeds, details in files beside the run.

        The target of a training of a user's own is known once its file was imported.
        """
        self._details.setdefault(name, []).append(detail)
        (case,) = (one.case for one in self.run.cases if one.id == name)
        details.save(case, self._details[name], self._folder)
        self._change(
            name,
            lambda old: {
                "case": old.case.model_copy(update={"target": detail.target}) if detail.target else old.case,
                "curves": tuple(sorted((*old.curves, curve), key=lambda one: one.seed)),
                "took_s": _took(old, "convergence", took_s),
                "outcomes": _measured(old, "convergence"),
            },
        )

    def add_observations(
        self, name: str, gate: str, observations: tuple[Observation, ...], took_s: float | None = None
    ) -> None:
        """Adds the observations of a check. Checks are many and quick: those of a second are written together."""

        def change(old: CaseResult) -> dict[str, object]:
            return {
                "observations": observations,
                "took_s": _took(old, gate, took_s),
                "outcomes": _measured(old, gate),
            }

        self._change(name, change, at_once=False)

    def add_kernels(self, name: str, kernels: LaunchedKernels) -> None:
        """Adds what a step of a case launches."""
        changes = {"kernels": kernels}
        self._change(name, lambda old: {**changes, "outcomes": _measured(old, "kernels")}, at_once=False)

    def leave_out(self, name: str, gate: str, reason: str) -> None:
        """Records that `gate` can't look at a case, whatever the other gates can."""
        skipped = Outcome(status=Status.SKIPPED, reason=reason)
        self._change(name, lambda old: {"outcomes": {**old.outcomes, gate: skipped}}, at_once=False)

    def add_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Adds what an implementation's results are those of."""
        self.run = self.run.model_copy(update={"diagnosis": diagnosis})
        if not self._deferred:
            self._save()

    def fail(self, name: str, gate: str, reason: str) -> None:
        """Records that the measurement for `gate` of a case failed; what was measured before is kept."""
        failed = Outcome(status=Status.FAILED, reason=reason)

        def outcomes(old: CaseResult) -> dict[str, Outcome]:
            gates = {gate} & {*old.outcomes}
            memory = old.outcomes.get("memory")
            # Memory is measured in the launch that measures time; the memory of an earlier launch stays.
            if gate == "timing" and memory is not None and memory.status is not Status.MEASURED:
                gates.add("memory")
            return {**old.outcomes, **dict.fromkeys(gates, failed)}

        self._change(name, lambda old: {"outcomes": outcomes(old)})

    def skip(self, name: str, reason: str, gate: str = "timing") -> None:
        """Records that a case can't be measured here; what other gates have measured of it stays.

        A case that `gate` has measured before has failed: it must be there every time.
        """
        skipped = Outcome(status=Status.SKIPPED, reason=reason)
        failed = Outcome(status=Status.FAILED, reason=f"{reason}, though it was measured before")

        def outcomes(old: CaseResult) -> dict[str, Outcome]:
            known = {gate: skipped if one.status is Status.PENDING else one for gate, one in old.outcomes.items()}
            before = old.outcomes.get(gate)
            return {**known, gate: failed} if before is not None and before.status is Status.MEASURED else known

        self._change(name, lambda old: {"outcomes": outcomes(old)}, at_once=False)

    def plan(self, planned: Mapping[str, float]) -> None:
        """Records the seconds that each stage is to take."""
        self.run = self.run.model_copy(update={"planned": dict(planned)})
        if not self._deferred:
            self._save()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the seconds until its end to what the stage took, however it ends."""
        began = monotonic()
        try:
            yield
        finally:
            took = {**self.run.took, name: self.run.took.get(name, 0.0) + monotonic() - began}
            self.run = self.run.model_copy(update={"took": took})

    def end(self, ended_by: str | None = None) -> None:
        """Records that the run is finished, or what ended it before; BUDGET ends a finished run with open cases."""
        self.run = self.run.model_copy(update={"finished": ended_by in {None, BUDGET}, "ended_by": ended_by})
        self._save()

    def _change(self, name: str, change: Callable[[CaseResult], dict[str, object]], *, at_once: bool = True) -> None:
        cases = tuple(one.model_copy(update=change(one)) if one.id == name else one for one in self.run.cases)
        self.run = self.run.model_copy(update={"cases": cases})
        if not self._deferred and (at_once or monotonic() - self._saved > SAVED_EVERY_S):
            self._save()

    def _save(self) -> None:
        self.run = self.run.model_copy(update={"wall_s": monotonic() - self._began})
        store.save(self.run, self._folder, self._text)
        self._saved = monotonic()

    def _text(self, result: CaseResult) -> str:
        """Returns a result as JSON, made once as long as the result stays the same."""
        known = self._texts.get(result.id)
        if known is None or known[0] is not result:
            known = self._texts[result.id] = result, store.text(result)
        return known[1]


def _took(result: CaseResult, gate: str, seconds: float | None) -> dict[str, tuple[float, ...]]:
    """Returns the durations of a case with one more, if that is known."""
    if seconds is None or not 1e-12 < seconds < 1e7:
        return result.took_s
    return {**result.took_s, gate: (*result.took_s.get(gate, ()), seconds)}


def _measured(result: CaseResult, *gates: str) -> dict[str, Outcome]:
    """Returns the outcomes with one more measurement; a failure stays one, whatever is measured beside it."""
    healthy = [gate for gate in gates if gate in result.outcomes and result.outcomes[gate].status is not Status.FAILED]
    return {**result.outcomes, **dict.fromkeys(healthy, MEASURED)}
