"""The A/A comparison of the noise floor: what it asks for, and what it makes of launches."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsuite.cases import profile
from bnsuite.experiments.ab import ComparisonRequest, ComparisonResult
from bnsuite.experiments.noise import BUDGET_S, CASE, NoiseResult, measure_noise
from bnsuite.record.folder import ResultsFolder
from bnsuite.record.host import CheckState, HostCheck
from bnsuite.record.interleaved import InterleavedTimes, PairedCase, PairedLaunch
from bnsuite.report import doctor
from conftest import Command, make_run

BLOCKS = 8


def launch(ratio: float, share: float = 1.0) -> PairedLaunch:
    """A launch in which B takes `ratio` times as long, with this share of its core."""
    return PairedLaunch(
        disturbed=None,
        iterations=1,
        rounds=1,
        confirms=False,
        a_first=(True, False) * (BLOCKS // 2),
        layouts=(0,) * BLOCKS,
        a_rounds_s=((1.0,),) * BLOCKS,
        b_rounds_s=((ratio,),) * BLOCKS,
        a_shares=(share,) * BLOCKS,
        b_shares=(share,) * BLOCKS,
    )


def measured(tmp_path: Path, *launches: PairedLaunch) -> tuple[NoiseResult, ComparisonRequest]:
    """What is made of these launches, and what was asked for."""
    requests = []

    def compare(request: ComparisonRequest) -> ComparisonResult:
        requests.append(request)
        cases = (PairedCase(id="control/copy", launches=launches), PairedCase(id=CASE, launches=launches))
        times = InterleavedTimes(
            schema=2, a=".", b=".", seed=0, most_launches=18, budget_s=30.0, variables={}, cases=cases
        )
        return ComparisonResult(make_run(), make_run(), times, (), False, ResultsFolder(tmp_path))

    found = measure_noise(tmp_path, compare, device="cpu", threads=1, baselines=tmp_path)
    return found, requests[0]


def test_an_interpreter_is_compared_with_itself(tmp_path: Path) -> None:
    """On one case of the quick profile, within the budget; a launch takes its part of the time."""
    found, request = measured(tmp_path, *map(launch, (1.0, 1.004, 0.998, 1.001)))
    assert (request.a, request.b, request.budget_s) == (".", ".", BUDGET_S)
    assert [one.id for one in profile("quick") if request.options[0].select == one.id] == [CASE]
    assert (found.made, found.undisturbed) == (4, 4)
    assert found.floor is not None
    assert found.floor.launch_s == pytest.approx(42.0 / 4)
    assert found.floor.launches == 4


def test_launches_beside_a_busy_process_tell_nothing(tmp_path: Path) -> None:
    """They are counted as disturbed; and so few launches tell nothing either."""
    found, _ = measured(tmp_path, *[launch(1.0, share=0.5)] * 4)
    assert (found.floor, found.made, found.undisturbed) == (None, 4, 0)
    assert measured(tmp_path, launch(1.0), launch(1.0))[0].floor is None
    assert measured(tmp_path)[0] == NoiseResult(None, 0, 0)


@pytest.mark.parametrize(
    ("observed", "said"),
    [
        ({"deviation": 0.012}, "launches deviate by 1.2 %"),
        ({"made": 3, "undisturbed": 0}, "0 of 3 launches had a core to themselves"),
        ({"change": 0.05, "most_launches": 30}, "no change up to 5.0 % can be shown within 60 launches"),
    ],
)
def test_the_check_has_words(observed: dict[str, float], said: str) -> None:
    """In each of its states."""
    check = HostCheck(name="noise", state=CheckState.DISTURBS, observed={**observed}, fix="quieter-host")
    assert doctor.observed(check) == said


@pytest.mark.slow
def test_the_noise_is_measured(bnsuite: Command, tmp_path: Path) -> None:
    """By the real command, which leaves nothing behind, and says what it found or why it can't be told."""
    done = bnsuite("doctor", "--measure", "--all", "--device", "cpu")
    assert " noise: " in done.out
    assert done.status in {0, 1, 2}
    assert not list((tmp_path / "scratch").iterdir())
