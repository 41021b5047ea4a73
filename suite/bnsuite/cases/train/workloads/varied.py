"""Trainings with one setting varied: placement, batch size, dropout, parameters of the norm, rates, weights; LSTMs.

Where a sweep would repeat a case that another workload has (learning rate 0.01, weight scale 1, placement before the
activation), it is left out and the other one stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bnsuite.cases.networks import Init, Lstm, Norm
from bnsuite.cases.train.case import TrainCase
from bnsuite.cases.train.optimizers import Adam, Sgd
from bnsuite.cases.train.workloads.basic import BN, GN, LN, NONE, cnn, mnist_mlp, synthetic_mlp

#: The validation loss that counts as learnt.
RECURRENT_TARGETS = {"digits": 0.5, "mnist-6k": 0.6}


def placement() -> Iterator[TrainCase]:
    """Article 4: BN after the activation; before it is mnist-mlp/bn (dropout/bn/p=0 on mnist-6k) and cnn/bn."""
    for data in ("mnist-6k", "digits"):
        yield mnist_mlp(
            BN,
            data,
            workload="placement",
            norm="after",
            settings={"net": "mnist-mlp", "data": data},
            network={"after": True},
            timed=False,
        )
    yield cnn(
        BN,
        "digits",
        workload="placement",
        norm="after",
        settings={"net": "cnn", "data": "digits"},
        network={"after": True},
        timed=False,
        probed=False,
        quick=False,
    )


def batch_size() -> Iterator[TrainCase]:
    """Article 4: the same samples seen in batches of other sizes, the learning rate in proportion (Goyal 2017)."""
    for batch in (2, 4, 8, 16, 32, 64, 128):
        for norm in (BN, LN, GN, NONE):
            yield cnn(
                norm,
                "digits",
                workload="batch-size",
                settings={"batch": f"{batch}"},
                batch=batch,
                optimizer=Sgd(0.05 * batch / 64, 0.9),
                epochs=2,
                target=None,
                timed=False,
                probed=False,
                quick=False,
            )


def dropout() -> Iterator[TrainCase]:
    """Article 4: dropout after each activation; p = 0 on digits is mnist-mlp."""
    for data, rates in (("digits", (0.2, 0.5)), ("mnist-6k", (0.0, 0.2, 0.5))):
        for rate in rates:
            for norm in (BN, NONE):
                yield mnist_mlp(
                    norm,
                    data,
                    workload="dropout",
                    settings={"p": f"{rate:g}", "data": data},
                    network={"dropout": rate},
                    timed=False,
                )


def recurrent() -> Iterator[TrainCase]:
    """Article 4: an LSTM over the rows of an image."""
    for data, side, epochs in (("digits", 8, 10), ("mnist-6k", 28, 2)):
        for norm in ("plain", "ln", "bn"):
            yield TrainCase(
                workload="recurrent",
                norm=norm,
                settings={"data": data},
                network=Lstm(steps=side, features=side, hidden=64, norm=norm),
                data=data,
                loss="cross-entropy",
                optimizer=Adam(3e-3),
                batch=64,
                epochs=epochs,
                target=RECURRENT_TARGETS[data],
                timed=data == "digits",
                quick=False,
            )


def bn_parameters() -> Iterator[TrainCase]:
    """Articles 1 and 4: one parameter of the CNN's batch norm other than usual; the usual ones are cnn/bn."""
    variants: tuple[tuple[dict[str, str], dict[str, Any]], ...] = (
        ({"eps": "0.001"}, {"eps": 1e-3}),
        ({"momentum": "0.01"}, {"momentum": 0.01}),
        ({"momentum": "0.5"}, {"momentum": 0.5}),
        ({"momentum": "none"}, {"momentum": None}),
        ({"affine": "off"}, {"affine": False}),
        ({"track": "off"}, {"track_running_stats": False}),
    )
    for settings, parameters in variants:
        yield cnn(
            Norm(kind="bn", **parameters),
            "digits",
            workload="bn-parameters",
            settings=settings,
            timed=False,
            probed=False,
            quick=False,
        )


def sweeps() -> Iterator[TrainCase]:
    """Articles 0, 1, 3: learning rates over four decades, initial weights over three."""
    for norm in (BN, NONE):
        for lr in (1e-4, 1e-3, 3e-2, 1.0):
            yield synthetic_mlp(
                norm,
                lr,
                workload="lr-sweep",
                settings={"net": "synthetic-mlp", "lr": f"{lr:g}"},
                target=None,
                timed=False,
                quick=False,
            )
        for lr in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
            yield mnist_mlp(
                norm,
                "mnist-6k",
                workload="lr-sweep",
                settings={"net": "mnist-mlp", "data": "mnist-6k", "lr": f"{lr:g}"},
                optimizer=Adam(lr),
                epochs=3,
                target=None,
                timed=False,
            )
            yield mnist_mlp(
                norm,
                "digits",
                workload="lr-sweep",
                settings={"net": "mnist-mlp", "data": "digits", "lr": f"{lr:g}"},
                optimizer=Adam(lr),
                epochs=5,
                target=None,
                timed=False,
            )
        for scale in (0.03, 0.1, 0.3, 3.0, 10.0, 30.0):
            yield synthetic_mlp(
                norm,
                0.01,
                workload="init-sweep",
                settings={"scale": f"{scale:g}"},
                init=Init(scale=scale),
                target=None,
                timed=False,
                quick=False,
            )
