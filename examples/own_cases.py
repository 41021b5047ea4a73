"""Cases of your own, measured beside the built-in ones.

    BNSUITE_CASES=$PWD/examples/own_cases.py bnsuite --device cpu -k mine
    pytest suite --device cpu --cases examples/own_cases.py -k 16x3

A case is a frozen value with a readable id. `CASES` is an iterable of cases, or a function that returns one.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases import Adam, LayerCase, NumericsCase, Observation, Subject, TrainCase, networks


def zero_mean(subject: Subject) -> Iterator[Observation]:
    """Checks that outputs have mean 0, to 1e-5."""
    layer = subject.batch_norm(1, 3, momentum=0.5)  # torch's layer, or the implementation that is judged
    y = layer(subject.randn(8, 3))  # (N, C)
    yield Observation("mean", float(y.mean().abs()), limit=1e-5)


CASES = (
    # numerics/mine/batch_norm1d/mean
    NumericsCase(group="mine", name="batch_norm1d/mean", observe=zero_mean, rule="outputs have mean 0", quick=True),
    # op/batch_norm1d/fwd-train/f32/nc/16x3
    LayerCase(layer="batch_norm1d", phase="fwd-train", layout="nc", shape=(16, 3)),
    # train/mine/bn/lr=0.01
    TrainCase(
        workload="mine",
        norm="bn",
        settings={"lr": "0.01"},
        network=networks.Mlp(widths=(20, 8, 1), norm=networks.Norm(kind="bn"), images=False, binary=True),
        data="synthetic",
        loss="bce",
        optimizer=Adam(0.01),
        batch=64,
        epochs=1,
        target=None,
    ),
)
