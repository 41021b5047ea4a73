"""Faulty layers in the trainings of other dimensions, held against the accepted curves."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import faults
from bnsuite.cases import TrainCase, catalogue
from bnsuite.cases.implementation import VARIABLE
from bnsuite.judge import convergence
from bnsuite.judge.verdict import Verdict
from bnsuite.measure import devices
from bnsuite.measure.training_recorder import record
from bnsuite.record import baselines
from bnsuite.record.schema import Curve
from conftest import ROOT, make_run, result

if TYPE_CHECKING:
    from torch import Tensor

pytestmark = pytest.mark.usefixtures("one_thread")

WAVEFORMS, VOLUMES = "train/cnn1d/bn/data=waveforms", "train/cnn3d/bn/data=volumes"


class LengthForgotten(faults.Composed):
    """Inputs of rank 3 are averaged at the first point only."""

    def mean(self, z: Tensor, axes: list[int]) -> Tensor:
        return super().mean(z[:, :, :1] if z.dim() == 3 else z, axes)


class VarianceOfFirst(faults.Composed):
    """The variance is that of the first layer only."""

    def var(self, z: Tensor, mean: Tensor, axes: list[int]) -> Tensor:
        return super().var(z[:, :, :1] if z.dim() == 5 else z, mean, axes)


def verdict(name: str, layer: str, monkeypatch: pytest.MonkeyPatch, seeds: int) -> Verdict:
    """The verdict of the convergence gate on a training with a layer of this file or of ``faults.py``."""
    place = __name__ if layer in globals() else faults.__name__
    monkeypatch.setenv(VARIABLE, f"{place}:{layer}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    case = catalogue.case(name)
    assert isinstance(case, TrainCase)
    curves = (asdict(record(case, devices.get("cpu"), seed)[0]) for seed in range(seeds))
    trained = result(name, curves=tuple(Curve.model_validate_json(json.dumps(one)) for one in curves))
    planned = trained.case.model_copy(update={"target": case.target})
    run = make_run(trained.model_copy(update={"case": planned}))
    (finding,) = convergence.judge(run, baselines.load(ROOT / "baselines", run))
    return finding.verdict


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), [(WAVEFORMS, "LengthForgotten"), (VOLUMES, "VarianceOfFirst")])
def test_statistics_of_a_part_are_a_change(name: str, layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other training has these dimensions. A variance that is too small learns faster, which is a change as well."""
    assert verdict(name, layer, monkeypatch, 6) in {Verdict.REGRESSED, Verdict.IMPROVED}


@pytest.mark.slow
@pytest.mark.parametrize("name", [WAVEFORMS, VOLUMES])
def test_a_right_layer_of_basic_operations_is_no_regression(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It rounds otherwise than torch's own."""
    assert verdict(name, "Composed", monkeypatch, 3) in {Verdict.PASS, Verdict.INCONCLUSIVE}
