"""Every training, workload by workload, in the order of the articles that brought it."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.train.case import TrainCase
from bnsuite.cases.train.workloads import basic, varied
from bnsuite.cases.train.workloads.basic import BN, GN, IN, LN, NONE

__all__ = ["CASES"]


def _all() -> Iterator[TrainCase]:
    for lr in basic.SYNTHETIC_TARGETS:
        for norm in (NONE, BN):
            yield basic.synthetic_mlp(norm, lr)
    for data in ("mnist", "digits"):
        for norm in (BN, NONE, LN):
            yield basic.mnist_mlp(norm, data)
        yield from basic.keras_pair(f"{data}-held-out")
        for norm in (BN, NONE):
            yield basic.mnist_mlp_sgd(norm, data)
    for norm_name in ("none", "bn"):
        for activation in ("tanh", "relu"):
            yield basic.bad_init_regression(norm_name, activation)
    for data in ("digits", "mnist-6k", "fashion-6k"):
        for norm in (NONE, BN, GN, IN, LN):
            yield basic.cnn(norm, data)
    yield from varied.placement()
    yield from varied.batch_size()
    yield from varied.dropout()
    yield from varied.recurrent()
    yield from varied.bn_parameters()
    yield from varied.sweeps()
    yield from basic.vision()


CASES: tuple[TrainCase, ...] = tuple(_all())
