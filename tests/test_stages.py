"""The stages of a run within a budget: what is measured, in which order, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bnsuite.experiments import stages
from bnsuite.experiments.known import known
from bnsuite.experiments.stages import Stages
from bnsuite.judge.budget import measured_nothing
from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import ExitStatus, Finding, Verdict, exit_status
from bnsuite.launch import launches
from bnsuite.launch.estimate import CPU, Known
from bnsuite.launch.process import pool
from bnsuite.launch.progress import ProgressCounter
from bnsuite.launch.session import Session
from bnsuite.record import store
from bnsuite.record.durations import BUDGET
from bnsuite.record.key import machine_key
from bnsuite.record.reference import Reference, from_run
from bnsuite.record.schema import Run, RunOptions
from conftest import make_run, result, timing
from fake_environment import OPTIONS, FakeEnvironment

NOTHING = Reference(name="nothing")
LAYERS = [f"op/{name}" for name in "abcdef"]
#: So long that one case is a group of its own at first, and two are one later.
CASE_S = 2 * CPU.start_s


class Clock:
    """A clock that moves when a case is timed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (stages, launches, pool):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)

    def timed(self, seconds: float, slower: tuple[str, ...] = ()) -> Any:
        """Returns the reply to a request for a timing, which takes so many seconds."""

        def reply(request: dict[str, Any]) -> dict[str, Any]:
            self.now += seconds
            median_s = 2e-3 if request["case"] in slower else 1e-3
            return {"timing": timing(median_s).model_dump(mode="json"), "skipped": None}

        return reply


def environment_of(names: list[str], **more: Any) -> FakeEnvironment:
    """An environment with these cases alone."""
    cases = [result(name).case.model_dump(mode="json") for name in names]
    return FakeEnvironment(catalogue=lambda _: {"refused": None, "cases": cases}, **more)


def measured(
    environment: FakeEnvironment,
    folder: Path,
    options: RunOptions,
    reference: Reference = NOTHING,
    case_s: float | None = None,
) -> tuple[Run, list[Finding]]:
    """Returns a run by its stages, with its findings; by plan a layer takes `case_s`."""
    told = Known({} if case_s is None else {("timing", name): case_s for name in LAYERS})
    with Session(options, folder, ProgressCounter(lambda _: None), None, environment) as session:
        prepared = session.prepare()
        prepared.begin()
        prepared.end(Stages(prepared, reference, told).measure())
    return prepared.run, judge(prepared.run, reference)


def with_budget(seconds: float) -> RunOptions:
    return OPTIONS.model_copy(update={"budget_s": seconds})


def test_without_a_budget_everything_is_measured(tmp_path: Path) -> None:
    """The run has its plan, the time of each stage, and the durations of its cases; nothing ended it."""
    run, _ = measured(FakeEnvironment(), tmp_path / "o", OPTIONS)
    assert (run.finished, run.ended_by) == (True, None)
    assert run.planned.keys() == run.took.keys() == {"checks", "trainings", "timing"}
    durations = {gate: len(seconds) for one in run.cases for gate, seconds in one.took_s.items()}
    assert durations["timing"] == OPTIONS.launches
    assert store.load(tmp_path / "o").planned == run.planned


def test_a_budget_that_is_long_enough_changes_nothing_but_the_order(tmp_path: Path) -> None:
    """All launches, seeds and checks are there, and the run is not cut short."""
    run, _ = measured(FakeEnvironment(), tmp_path / "o", with_budget(1e6))
    assert (run.finished, run.ended_by) == (True, None)
    assert {len(one.timings) for one in run.cases if "timing" in one.outcomes} == {3}
    assert {len(one.curves) for one in run.cases if "convergence" in one.outcomes} == {2}


def test_too_short_a_budget_measures_nothing_and_fails_nothing(tmp_path: Path) -> None:
    """Every case is INCONCLUSIVE; no process is started for what can't end in time; the status is 3."""
    environment = FakeEnvironment()
    run, found = measured(environment, tmp_path / "o", with_budget(0.5))
    assert (run.finished, run.ended_by) == (True, BUDGET)
    assert {one.verdict for one in found} == {Verdict.INCONCLUSIVE}
    assert measured_nothing(run)
    assert not {"launch", "check-0", "train-0"} & environment.started.keys()


def test_cases_have_all_their_launches_before_the_next_ones_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A case that was begun is complete or open in part; what has no time is open, and the status is 0."""
    clock = Clock(monkeypatch)
    run, found = measured(
        environment_of(LAYERS, time_case=clock.timed(CASE_S)), tmp_path / "o", with_budget(10 * CASE_S), case_s=CASE_S
    )
    assert [len(one.timings) for one in run.cases] == [3, 3, 3, 0, 0, 0]
    assert run.ended_by == BUDGET
    verdicts = {one.case: one.verdict for one in found}
    assert verdicts[LAYERS[0]] is Verdict.NO_BASELINE
    assert verdicts[LAYERS[-1]] is Verdict.INCONCLUSIVE
    assert exit_status(found, finished=True, strict=False) is ExitStatus.FINE
    assert exit_status(found, finished=True, strict=True) is ExitStatus.NOT_MEASURED


def test_a_launch_that_takes_longer_than_planned_drops_the_last_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the first ones get all of their launches: better some cases judged than none."""
    clock = Clock(monkeypatch)
    run, found = measured(
        environment_of(LAYERS, time_case=clock.timed(4.0)), tmp_path / "o", with_budget(60.0), case_s=1.0
    )
    assert [len(one.timings) for one in run.cases] == [3, 3, 3, 3, 1, 1]
    verdicts = [one.verdict for one in found]
    assert verdicts == [Verdict.NO_BASELINE] * 4 + [Verdict.INCONCLUSIVE] * 2


@pytest.mark.parametrize("confirmed", [True, False])
def test_what_is_slower_is_confirmed_before_new_cases_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, confirmed: bool
) -> None:
    """What can't be confirmed in time is no regression, but an unconfirmed slowdown, with status 3."""
    clock = Clock(monkeypatch)
    environment = environment_of(LAYERS, time_case=clock.timed(CASE_S, slower=(LAYERS[0],)))
    accepted = make_run(*(result(name, timings=(timing(1e-3),) * 3) for name in LAYERS))
    reference = from_run(accepted, "yesterday", machine_key(accepted))
    budget_s = (7 if confirmed else 5) * CASE_S
    run, found = measured(environment, tmp_path / "o", with_budget(budget_s), reference, CASE_S)
    slower = next(one for one in found if one.case == LAYERS[0])
    assert [one.confirms for one in run.cases[0].timings].count(True) == (3 if confirmed else 0)
    if confirmed:
        assert slower.verdict is Verdict.REGRESSED
        order = [one["case"] for one in environment.requests if one["do"] == "time_case"]
        assert order[:6] == [LAYERS[0]] * 6
    else:
        assert slower.verdict is Verdict.INCONCLUSIVE
        assert slower.unconfirmed
        assert exit_status(found, finished=True, strict=False) is ExitStatus.NOT_MEASURED


def test_durations_of_an_earlier_run_plan_the_next_one(tmp_path: Path) -> None:
    """Of the same machine and version of a case; another folder, file or machine tells nothing."""
    earlier = make_run(
        result("op/a", timings=(timing(1e-3),)).model_copy(update={"took_s": {"timing": (3.0, 5.0, 4.0)}}),
        result("op/b", version=2).model_copy(update={"took_s": {"timing": (3.0,)}}),
    )
    now = make_run(result("op/a"), result("op/b"))
    folder = tmp_path / "earlier"
    folder.mkdir()
    store.save(earlier, folder)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    places = (tmp_path / "none", tmp_path / "broken", folder)
    assert known(now, NOTHING, places).took_s == {("timing", "op/a"): 4.0}
    elsewhere = make_run(result("op/a"), threads=2)
    assert known(elsewhere, NOTHING, places).took_s == {}
    accepted = from_run(earlier, "yesterday", machine_key(earlier))
    assert known(now, accepted, ()).step_s == {"op/a": 1e-3}
