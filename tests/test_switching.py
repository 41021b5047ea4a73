"""Programs switched after export: whatever switches them is held to the layer's own eps, momentum and mode."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from bnsuite.cases.checks import CheckNotApplicableError, Observation, Subject
from bnsuite.cases.checks.behaviour.export import exporters, switching
from test_faults import is_wrong

pytestmark = pytest.mark.filterwarnings("ignore")


def rewrite(program: Any, training: bool, **others: float) -> None:
    """Writes the mode, and other arguments, into the batch norm of an exported program."""
    for node in program.graph.nodes:
        if "batch_norm" in str(node.target):
            taken = list(node.args)
            places = {"momentum": 6, "eps": 7}
            taken[5] = training
            for name, value in others.items():
                taken[places[name]] = value
            node.args = tuple(taken)
    program.recompile()


def assert_of_torch(_: Any, training: bool) -> None:
    raise RuntimeError(f"{training} INTERNAL ASSERT FAILED")


def refuse(_: Any, training: bool) -> None:
    raise NotImplementedError(f"no mode {training}")


def wrong(switch: switching.Switch, option: str = "momentum=0.3+eps=0.01") -> set[str]:
    """The observations that are wrong of a layer that is exported in training and switched so."""
    seen = switching.switched(
        Subject("cpu"),
        way=exporters.export,
        switch=switch,
        shape=exporters.SHAPES["1d-nc"],
        options=switching.OPTIONS[option],
        training=True,
    )
    return {one.what for one in seen if isinstance(one, Observation) and is_wrong(one, one)}


def test_a_switch_that_keeps_eps_and_momentum_is_right() -> None:
    """So is a program that refuses, and stays in the mode that it was exported in."""
    assert not wrong(rewrite)
    assert not wrong(refuse)
    assert not wrong(switching.by_method)


@pytest.mark.parametrize(
    ("switch", "found"),
    [
        (partial(rewrite, eps=1e-5), {"0 eval: y", "1 train: y", "2 eval: y"}),
        (partial(rewrite, momentum=0.1), {"1 train: running_mean", "1 train: running_var", "2 eval: y"}),
        (lambda _program, _training: None, {"0 eval: y", "2 eval: y"}),
        (assert_of_torch, {"0 eval", "1 train", "2 eval"}),
    ],
)
def test_a_switch_that_loses_something_is_found(switch: switching.Switch, found: set[str]) -> None:
    """Lost eps shows in outputs, lost momentum in the statistics, a lost mode in both; an assertion is no refusal."""
    assert found <= wrong(switch)


def test_a_package_without_the_functions_is_named() -> None:
    """The cases are left out by name where torch or torchao has no function to switch a program."""
    with pytest.raises(CheckNotApplicableError, match=r"torch\.nn has no move_exported_model_to_eval"):
        wrong(partial(switching.by_function, package="torch.nn"))
    with pytest.raises(CheckNotApplicableError, match="there is no nowhere here"):
        wrong(partial(switching.by_allowed_method, package="nowhere"))
