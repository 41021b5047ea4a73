"""The plan of a run: on one GPU without one, and by what earlier runs have recorded."""

from __future__ import annotations

from functools import cache

import pytest

from bnsuite.cases.data import SETS, TRAINED_ON
from bnsuite.cases.data.sets import make
from bnsuite.launch.estimate import CUDA, Estimator, Known
from bnsuite.launch.plan import (
    GPU_CHECKERS,
    GPU_PLANS,
    GPU_TRAINERS,
    LONG_TRAINING_SEEDS,
    LONG_TRAINING_STEPS,
    on_device,
    run_options,
    with_limits,
)
from bnsuite.launch.queries import catalogue
from bnsuite.record.durations import launches_of, seeds_of
from bnsuite.record.planned import Estimate
from bnsuite.record.schema import PlannedCase, RunOptions
from conftest import result

#: Seconds that a profile may take on one GPU by plan.
LIMITS_S = {"quick": 120.0, "full": 600.0}


@cache
def cases_of(profile: str) -> tuple[PlannedCase, ...]:
    """The cases that one GPU measures: those of several ranks need as many GPUs."""
    return tuple(one for one in catalogue(profile, None, None) if one.ranks == 1)


def options(profile: str, device: str = "cuda:0") -> RunOptions:
    made = run_options(device=device, profile=profile, select=None, threads=1, timeout_s=300.0, implementation=None)
    return on_device(made, device)


def of_gpu(profile: str) -> Estimate:
    """The plan on one GPU with sixteen cores, for which no GPU is needed; quick cases and others are two groups."""
    chosen, cases = options(profile), cases_of(profile)
    quick = any("quick" in one.profiles for one in cases)
    others = [launches_of(chosen, with_limits(one, chosen, "cuda:0")) for one in cases if "quick" not in one.profiles]
    launches = chosen.launches * quick + max(others, default=0)
    return Estimator("cuda:0", chosen).of(cases, checkers=GPU_CHECKERS, trainers=GPU_TRAINERS, launches=launches)


@pytest.mark.parametrize("profile", LIMITS_S)
def test_a_profile_fits_on_one_gpu_by_plan(profile: str) -> None:
    """Two minutes for quick, ten for full, by allowances: nothing of it was measured on a GPU."""
    estimate = of_gpu(profile)
    assert set(estimate.stages) == {"kernels", "checks", "trainings", "timing"}
    assert estimate.seconds <= LIMITS_S[profile]
    assert estimate.known == 0.0


def test_a_gpu_has_launches_and_seeds_of_its_own() -> None:
    """A run with numbers that were chosen keeps them, and so does one on a CPU."""
    assert (options("full").launches, len(options("full").seeds)) == (
        GPU_PLANS["full"].launches,
        GPU_PLANS["full"].seeds,
    )
    assert (options("full", "cpu").launches, len(options("full", "cpu").seeds)) == (10, 10)
    chosen = options("full", "cpu").model_copy(update={"launches": 4})
    assert on_device(chosen, "cuda:0") == chosen


def test_long_trainings_and_rare_cases_are_measured_less_on_a_gpu() -> None:
    """On a CPU every case has all launches and seeds of the run."""
    chosen = options("full")
    for one in cases_of("full"):
        long = one.steps.get("convergence", 0) > LONG_TRAINING_STEPS
        limited = with_limits(one, chosen, "cuda:0")
        assert len(seeds_of(chosen, limited)) == (LONG_TRAINING_SEEDS if long else len(chosen.seeds))
        if "timing" in one.gates:
            assert launches_of(chosen, limited) == (3 if "quick" in one.profiles else 2)
        assert with_limits(one, options("full", "cpu"), "cpu") == one


def test_steps_are_those_of_the_data() -> None:
    """The sizes that a plan is made of are those of the data sets that are made without a download."""
    assert TRAINED_ON.keys() == SETS.keys()
    for name in ("synthetic", "regression", "digits", "digits-held-out", "images-32", "waveforms", "volumes"):
        assert len(make(name)[0]) == TRAINED_ON[name]


def test_an_earlier_run_tells_more_than_a_model() -> None:
    """A recorded duration comes first, then the time of the accepted step, then an allowance."""
    layer, training = result("op/a").case, result("train/mlp/bn").case
    training = training.model_copy(update={"steps": {"epoch": 10, "convergence": 100, "timing": 60}})
    plain = Estimator("cuda:0", options("quick"))
    accepted = Estimator("cuda:0", options("quick"), Known(step_s={"op/a": 1.0, "train/mlp/bn": 2.0}))
    recorded = Estimator("cuda:0", options("quick"), Known({("timing", "op/a"): 7.0}, {"op/a": 1.0}))
    assert plain.timing_s(layer) == (CUDA.around_s, False)
    assert accepted.timing_s(layer) == (10.0 + CUDA.around_s, True)
    assert recorded.timing_s(layer) == (7.0, True)
    assert plain.seed_s(training) == (pytest.approx(CUDA.training_s + 100 * CUDA.step_s), False)
    assert accepted.seed_s(training) == (pytest.approx(CUDA.training_s + 20.0), True)
    assert accepted.timing_s(training) == (pytest.approx(CUDA.training_s + 12.0), True)


def test_a_pool_is_no_faster_than_its_longest_job() -> None:
    """Nor than all jobs that wait for one another; one worker takes the sum."""
    cases = [result(f"numerics/dtypes/{n}").case for n in range(8)]
    known = Known({("numerics", one.id): 100.0 if one.id.endswith("0") else 1.0 for one in cases})
    estimator = Estimator("cuda:0", options("quick"), known)
    one = estimator.of(cases, checkers=1, trainers=1, launches=0).seconds
    eight = estimator.of(cases, checkers=8, trainers=1, launches=0).seconds
    assert one == pytest.approx(CUDA.start_s + 107.0)
    assert eight == pytest.approx(CUDA.start_s + 100.0)


def test_a_budget_is_shared_out_by_plan() -> None:
    """Each stage has its part where the budget is too small, and its plan where it is not."""
    estimate = of_gpu("quick")
    assert sum(estimate.within(10.0).values()) == pytest.approx(10.0)
    assert estimate.within(1e6) == {name: stage.seconds for name, stage in estimate.stages.items()}
    assert estimate.within(None) == estimate.within(1e6)
