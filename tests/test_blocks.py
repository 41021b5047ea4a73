"""One case in one launch: how its time is divided into blocks and layouts."""

from __future__ import annotations

import pytest

from bnsuite.launch.interleaved.blocks import LAYOUTS, MIN_LAYOUTS, BlockPlan, plan_blocks


@pytest.mark.parametrize("step_s", [20e-6, 1e-3, 8e-3])
def test_timing_fills_what_is_given(step_s: float) -> None:
    """Within a quad of blocks, over all layouts alike; a pair is never alone."""
    plan = plan_blocks(step_s, 1.5, 0.01, cold=False)
    steps = plan.rounds * plan.iterations + plan.warm
    assert sum(plan.pairs) * 2 * steps * step_s == pytest.approx(1.5, rel=0.1)
    assert len(plan.pairs) == LAYOUTS
    assert max(plan.pairs) - min(plan.pairs) <= 2
    assert all(count % 2 == 0 and count > 0 for count in plan.pairs)


@pytest.mark.parametrize(("move_s", "layouts"), [(0.1, LAYOUTS), (0.5, 6), (10.0, MIN_LAYOUTS)])
def test_a_case_that_takes_long_to_build_gets_fewer_layouts(move_s: float, layouts: int) -> None:
    """The pairs stay as many."""
    plan = plan_blocks(1e-3, 1.5, move_s, cold=False)
    assert len(plan.pairs) == layouts
    assert sum(plan.pairs) == sum(plan_blocks(1e-3, 1.5, 0.01, cold=False).pairs)
    assert plan.rounds == 3


def test_a_step_longer_than_its_share_is_timed_once_each_way() -> None:
    """A B B A is the least there is."""
    assert plan_blocks(5.0, 1.5, 0.01, cold=False) == BlockPlan(rounds=1, iterations=1, warm=0, pairs=(2,))


def test_caches_are_emptied_for_each_round_of_a_cold_case() -> None:
    """So that a round is one step, and none comes before it to warm up."""
    plan = plan_blocks(20e-6, 1.5, 0.01, cold=True)
    assert (plan.iterations, plan.warm) == (1, 0)
