"""One case in one launch: how its time is divided into blocks and layouts."""

from __future__ import annotations

import pytest

from bnsuite.launch.interleaved.blocks import (
    CPU_RULES,
    LAYOUTS,
    MIN_LAYOUTS,
    BlockPlan,
    BlockRules,
    plan_blocks,
    rules_of,
    stricter,
)
from bnsuite.launch.process.messages import ReadyAnswer


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


def ready(**more: object) -> ReadyAnswer:
    return ReadyAnswer.model_validate({"step_s": 4e-6, "cold": False, "examples": None, "skipped": None, **more})


def test_a_device_with_a_queue_has_rules_of_its_own() -> None:
    """Longer rounds and two layouts; a side that says nothing is timed as before."""
    assert rules_of(ready()) == CPU_RULES
    rules = rules_of(ready(wall_s=24e-6, max_iterations=400, round_s=5e-3, block_s=20e-3, layouts=2))
    assert rules == BlockRules(
        round_s=5e-3, block_s=20e-3, layouts=2, max_iterations=400, launching_s=pytest.approx(20e-6)
    )
    plan = plan_blocks(100e-6, 1.5, 0.01, cold=False, rules=rules)
    assert (plan.iterations, plan.rounds, len(plan.pairs)) == (50, 4, 2)


def test_a_round_fits_into_the_queues_of_both_sides() -> None:
    """And the plan counts the time of the host, which is most of it for a short step."""
    one, other = BlockRules(max_iterations=400, launching_s=10e-6), BlockRules(max_iterations=300, launching_s=20e-6)
    both = stricter(one, other)
    assert (both.max_iterations, both.launching_s) == (300, 20e-6)
    assert stricter(CPU_RULES, CPU_RULES) == CPU_RULES
    plan = plan_blocks(4e-6, 1.5, 0.01, cold=False, rules=stricter(BlockRules(round_s=5e-3, block_s=20e-3), both))
    assert plan.iterations == 300
    steps = plan.rounds * plan.iterations + plan.warm
    assert sum(plan.pairs) * 2 * steps * 24e-6 == pytest.approx(1.5, rel=0.1)


def test_caches_are_emptied_for_each_round_of_a_cold_case() -> None:
    """So that a round is one step, and none comes before it to warm up."""
    plan = plan_blocks(20e-6, 1.5, 0.01, cold=True)
    assert (plan.iterations, plan.warm) == (1, 0)
