"""The stages of a run, one after another: all of each, or what a budget has time for.

A budget is shared out by the plan: a stage gets its part of the time that is left. Checks and trainings end with their
part. Times are taken in groups of cases, each in all of its launches before the next group, so that a run which ends at
any moment has judged as many cases as possible; what looks slower is confirmed before the next group.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from bnsuite.judge.budget import is_confirmed, leaves_open
from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import Verdict
from bnsuite.launch.estimate import Estimator, Known
from bnsuite.launch.launches import Launches
from bnsuite.launch.plan import GPU_CHECKERS, GPU_TRAINERS
from bnsuite.launch.prepared import PreparedSession
from bnsuite.record.durations import BUDGET
from bnsuite.record.planned import CONFIRMING, STAGES, Estimate
from bnsuite.record.reference import Reference
from bnsuite.record.schema import PlannedCase, Run

#: A group of cases takes this many times as long as the start of its processes, if there are as many cases; the first
#: one is smaller, since the pace of the machine is not known yet.
GROUP_TIMES, FIRST_GROUP_TIMES = 3.0, 1.0
#: The plan is corrected by what groups took, within these.
MIN_PACE, MAX_PACE = 0.5, 4.0


class Stages:
    """The measuring of a prepared session, with its plan; what earlier runs tell of durations is `known`."""

    def __init__(self, session: PreparedSession, reference: Reference, known: Known) -> None:
        self._session, self._reference = session, reference
        self._estimator = Estimator(session.device, session.options, known)
        self._deadline: float | None = None
        #: There was no time to see a slowdown again.
        self._declined = False
        #: How much slower groups were than planned, once there was one.
        self._pace: float | None = None
        #: The plan of all cases, whatever the budget.
        self.estimate = self._estimate()

    def _estimate(self) -> Estimate:
        cases = self._session.cases
        timed = [case for case in cases if "timing" in case.gates]
        return self._estimator.of(
            cases,
            checkers=len(self._session.workers(GPU_CHECKERS)),
            trainers=len(self._session.workers(GPU_TRAINERS)),
            launches=sum(max(map(self._estimator.launches_of, group)) for group in self._groups(timed)),
        )

    def measure(self, *, timing_only: bool = False) -> str | None:
        """Measures what there is time for, or times alone; returns BUDGET if anything was left, else None."""
        session, budget_s = self._session, self._session.options.budget_s
        self._deadline = None if budget_s is None else monotonic() + budget_s
        session.recorder.plan(self.estimate.within(budget_s))
        if not timing_only:
            self._look()
        if "timing" in self.estimate.stages:
            self._time(Launches(session))
        unsettled = self._declined and bool(self._slower(session.run))
        return BUDGET if unsettled or (self._deadline is not None and leaves_open(session.run)) else None

    def _look(self) -> None:
        """Measures everything that is not timed."""
        session = self._session
        if "kernels" in self.estimate.stages:  # its process is there already, and ends then
            with session.recorder.stage("kernels"):
                session.look_at_kernels(self._part("kernels"))
        else:
            session.session.query.end()
        session.diagnose()
        for name, stage in (("checks", session.run_checks), ("trainings", session.run_trainings)):
            if name in self.estimate.stages and self._has_time(name):
                with session.recorder.stage(name):
                    stage(self._part(name))

    def _part(self, name: str) -> float | None:
        """Returns the end (monotonic) of a stage: its part of the time that is left, by plan."""
        if self._deadline is None:
            return None
        now, stages = monotonic(), self.estimate.stages
        to_come = sum(stages[one].seconds for one in STAGES[STAGES.index(name) :] if one in stages)
        return now + max(0.0, self._deadline - now) * stages[name].seconds / to_come

    def _has_time(self, name: str) -> bool:
        """Returns True if the stage's part of the time is longer than the start of its processes."""
        end = self._part(name)
        return end is None or end - monotonic() > self._estimator.allowances.start_s

    def _time(self, launches: Launches) -> None:
        """Times group after group (see `_next_group`); then confirms what is slower."""
        session = self._session
        left = {case.id: case for case in session.cases if "timing" in case.gates}
        planned_s = took_s = 0.0
        while group := self._next_group(list(left.values())):
            began = monotonic()
            with session.recorder.stage("timing"):
                launches.time([case.id for case in group], self._deadline)
            took_s += monotonic() - began
            planned_s += self._seconds(group)
            self._pace = min(MAX_PACE, max(MIN_PACE, took_s / planned_s))
            for case in group:
                del left[case.id]
            if self._deadline is not None:
                self._confirm(launches)
        self._confirm(launches)

    def _confirm(self, launches: Launches) -> None:
        """Times slower cases again, if there is time: a slowdown is only believed when fresh launches show it again."""
        slower = self._slower(self._session.run)
        cases = [case for case in self._session.cases if case.id in slower]
        if not cases:
            return
        end = self._deadline
        self._declined = end is not None and monotonic() + (self._pace or 1.0) * self._seconds(cases) >= end
        if not self._declined:
            with self._session.recorder.stage(CONFIRMING):
                launches.confirm(slower, end)
            self._declined = end is not None and monotonic() >= end

    def _slower(self, run: Run) -> set[str]:
        """Returns the cases that are slower, and were not timed to confirm it."""
        found = judge(run, self._reference)
        confirmed = {one.id for one in run.cases if is_confirmed(run, one)}
        return {
            one.case
            for one in found
            if (one.gate, one.verdict) == ("timing", Verdict.REGRESSED) and one.case not in confirmed
        }

    def _seconds(self, cases: Sequence[PlannedCase]) -> float:
        """Returns the seconds of all launches of a group by plan."""
        return self._session.options.launches * self._estimator.launch_s(cases)

    def _groups(self, timed: Sequence[PlannedCase]) -> list[list[PlannedCase]]:
        """Returns the groups in which cases are timed if there is time for all of them."""
        groups, left = [], list(timed)
        while left:
            group = self._next_group(left)
            groups.append(group)
            taken = {case.id for case in group}
            left = [case for case in left if case.id not in taken]
        return groups

    def _next_group(self, left: Sequence[PlannedCase]) -> list[PlannedCase]:
        """Returns the next cases that fit into the time that is left, the most telling first; none if none does.

        Without a budget the cases of the quick profile are one group on a GPU, and all others the next; on a CPU all
        are one.
        """
        if not left:
            return []
        if self._session.options.budget_s is None:
            first = "quick" in left[0].profiles
            ordered = self._session.is_ordered
            return [case for case in left if not ordered or ("quick" in case.profiles) == first]
        now = monotonic()
        room_s = float("inf") if self._deadline is None else self._deadline - now
        start_s, launches = self._estimator.allowances.start_s, self._session.options.launches
        pace, times = (1.0, FIRST_GROUP_TIMES) if self._pace is None else (self._pace, GROUP_TIMES)
        group: list[PlannedCase] = []
        cases_s = 0.0
        for case in left:
            case_s = self._estimator.timing_s(case)[0]
            if pace * launches * (start_s + cases_s + case_s) > room_s:
                continue
            group.append(case)
            cases_s += case_s
            if cases_s > times * start_s:
                break
        return group
