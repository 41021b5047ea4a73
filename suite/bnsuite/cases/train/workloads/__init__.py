"""Every training, workload by workload, in the order of the articles that brought it."""

from __future__ import annotations

from bnsuite.cases.train.case import TrainCase
from bnsuite.cases.train.workloads import basic, beyond, varied

__all__ = ["CASES"]

CASES: tuple[TrainCase, ...] = (
    *basic.cases(),
    *varied.placement(),
    *varied.batch_size(),
    *varied.dropout(),
    *varied.recurrent(),
    *varied.bn_parameters(),
    *varied.sweeps(),
    *beyond.dimensions(),
    *beyond.autocast(),
    *beyond.loader(),
    *basic.vision(),
)
