"""Launch after launch of a comparison: what ends it, and what the last of its time is used for."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from bnsuite.experiments import adaptive
from bnsuite.experiments.adaptive import MAX_LAUNCHES, measure
from bnsuite.judge.comparison import judge
from bnsuite.judge.verdict import ExitStatus, Verdict, exit_status
from bnsuite.launch.interleaved.launches import InterleavedLaunches, LostLaunchError
from bnsuite.launch.interleaved.sides import PreparedPair
from bnsuite.record.interleaved import PairedCase, PairedLaunch
from fake_environment import DeathError, FakeEnvironment, begun, paired


def launches_of(pair: PreparedPair, folder: Path, budget_s: float | None = None) -> InterleavedLaunches:
    return InterleavedLaunches(
        pair, folder, seed=1, most_launches=MAX_LAUNCHES["quick"], budget_s=budget_s, injected={}
    )


def paired_launch(ratio: float, *, confirms: bool = False) -> PairedLaunch:
    """A launch in which B takes `ratio` times as long, in each of four pairs."""
    return PairedLaunch(
        a_rounds_s=((1e-3,),) * 4,
        b_rounds_s=((1e-3 * ratio,),) * 4,
        a_first=(True, False) * 2,
        layouts=(0,) * 4,
        a_shares=(1.0,) * 4,
        b_shares=(1.0,) * 4,
        iterations=1,
        rounds=1,
        confirms=confirms,
    )


def dies(_: dict[str, Any]) -> dict[str, Any]:
    raise DeathError("the process ended with status 5")


@pytest.mark.parametrize("request_name", ["prepare", "time_block"])
def test_a_side_that_dies_in_every_launch_is_no_lack_of_time(tmp_path: Path, request_name: str) -> None:
    """However few launches the budget allows: the error names the side, and ends the comparison."""
    with paired(FakeEnvironment("A"), FakeEnvironment("B", **{request_name: dies}), tmp_path) as both:
        pair = begun(both)
        launches = launches_of(pair, tmp_path, budget_s=60.0)
        # Time for one launch: its start is known to take long.
        launches._start_s = 50.0
        with pytest.raises(LostLaunchError, match=r"^B: the process ended with status 5"):
            measure(both, pair, launches, monotonic() + 55.0 if request_name == "prepare" else monotonic() + 60.0)
        assert 1 <= launches.lost <= 4
    assert all("a launch was lost: B: " in one for one in both.warnings)


def test_without_a_budget_repeated_losses_end_it(tmp_path: Path) -> None:
    with paired(FakeEnvironment("A"), FakeEnvironment("B", prepare=dies), tmp_path) as both:
        pair = begun(both)
        launches = launches_of(pair, tmp_path)
        with pytest.raises(LostLaunchError, match=r"^B: "):
            measure(both, pair, launches, None)
        assert launches.lost == 4


class ScriptedLaunches(InterleavedLaunches):
    """Launches in which B takes as long as a script says, by case; a clock moves by `launch_s` and more per case."""

    def script(self, ratios: dict[str, float], clock: list[float]) -> None:
        self.ratios, self.clock = ratios, clock
        self.chosen: list[tuple[str, ...]] = []

    def names(self) -> list[str]:
        return list(self.ratios)

    def has_time(self, names: Any, deadline: float | None) -> bool:
        return deadline is None or self.clock[0] + self.expected_s([next(iter(names))]) < deadline

    def expected_s(self, names: Any) -> float:
        return 10.0 + 2.0 * len(list(names))

    def launch(self, names: Any, confirming: Any = (), deadline: float | None = None) -> None:
        self.chosen.append(tuple(names))
        self.clock[0] += self.expected_s(names)
        for number, name in enumerate(names):
            # Undecided cases swing about nothing, as a noisy machine has it.
            swing = 1 + 0.03 * (-1) ** (len(self.chosen) + number)
            ratio = self.ratios[name] if self.ratios[name] > 1.05 else swing
            known = {one.id: one for one in self.times.cases}
            old = known.get(name, PairedCase(id=name))
            launch = paired_launch(ratio, confirms=name in confirming)
            known[name] = old.model_copy(update={"launches": (*old.launches, launch)})
            self.times = self.times.model_copy(update={"cases": tuple(known.values())})


@pytest.mark.parametrize(("budget_s", "confirmed"), [(125.0, True), (80.0, False)])
def test_confirming_comes_before_new_looks_when_the_budget_runs_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget_s: float, confirmed: bool
) -> None:
    """A flagged slowdown gets the launches that are left; what can't be confirmed in time is status 3."""
    clock = [1000.0]
    monkeypatch.setattr(adaptive, "monotonic", lambda: clock[0])
    with paired(FakeEnvironment("A"), FakeEnvironment("B"), tmp_path) as both:
        pair = begun(both)
        launches = ScriptedLaunches(
            pair, tmp_path, seed=1, most_launches=MAX_LAUNCHES["quick"], budget_s=budget_s, injected={}
        )
        launches.script({"op/a": 1.5, "op/b": 1.0, "train/c": 1.0}, clock)
        measure(both, pair, launches, clock[0] + budget_s)
        pair.end()
    found = {one.case: one for one in judge(pair.a.run, pair.b.run, launches.times, ()) if one.gate == "timing"}
    status = exit_status(found.values(), finished=True, strict=False)
    if confirmed:
        assert launches.chosen[4] == ("op/a",)
        assert found["op/a"].verdict is Verdict.REGRESSED
        assert status is ExitStatus.REGRESSED
    else:
        assert found["op/a"].verdict is Verdict.INCONCLUSIVE
        assert found["op/a"].unconfirmed
        assert status is ExitStatus.NOT_MEASURED
