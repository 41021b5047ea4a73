"""What no article trains: 1-D and 3-D convolutions, mixed precision, and data from worker processes.

Upgrades have broken each of them while 2-D convolutions in float32 went on as before: pytorch#166643 (memory of 3-D
convolutions in bfloat16), #166122 (their time under autocast), #23642 (the end of workers), #103117 (their start).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bnsuite.cases.networks import Cnn, Norm
from bnsuite.cases.train.case import TrainCase
from bnsuite.cases.train.optimizers import Adam
from bnsuite.cases.train.workloads.basic import BN, NONE, cnn

#: The validation loss that counts as learnt.
TARGETS = {1: 1.1, 3: 0.7}

SIGNALS = {1: "waveforms", 3: "volumes"}
CLASSES = 6


def dimensions() -> Iterator[TrainCase]:
    """Networks of waveforms and of volumes; those of volumes also with activations in channels-last."""
    for rank in SIGNALS:
        for norm in (BN, NONE):
            yield cnn_of_rank(rank, norm)
    volumes = {"data": "volumes", "layout": "channels-last"}
    yield cnn_of_rank(3, BN, settings=volumes, network={"channels_last": True})


def autocast() -> Iterator[TrainCase]:
    """The network of volumes in mixed precision; float16, with a scaled loss, needs a GPU."""
    for dtype, norms in (("bf16", (BN, NONE)), ("fp16", (BN,))):
        for norm in norms:
            yield cnn_of_rank(
                3,
                norm,
                workload="autocast",
                settings={"net": "cnn3d", "data": "volumes", "dtype": dtype},
                autocast=dtype,
                gpu_only=dtype == "fp16",
            )


def loader() -> Iterator[TrainCase]:
    """The CNN on digits, its batches made by two processes that start anew in every epoch."""
    yield cnn(
        BN,
        "digits",
        workload="loader",
        settings={"net": "cnn", "data": "digits", "workers": "2"},
        workers=2,
        epochs=5,
        probed=False,
        quick=False,
    )


def cnn_of_rank(rank: int, norm: Norm, /, **more: Any) -> TrainCase:  # fields of the case
    """The CNN with convolutions of 1 or 3 dimensions; 3-D ones have half the channels and half the batch."""
    channels = {1: (1, 16, 32, 64), 3: (1, 8, 16, 32)}[rank]
    network = {"norm": norm, "dimensions": rank, "channels": channels, "classes": CLASSES, **more.pop("network", {})}
    fields: dict[str, Any] = {
        "workload": f"cnn{rank}d",
        "norm": norm.kind,
        "settings": {"data": SIGNALS[rank]},
        "network": Cnn(**network),
        "data": SIGNALS[rank],
        "loss": "cross-entropy",
        "optimizer": Adam(),
        "batch": {1: 64, 3: 32}[rank],
        "epochs": 6,
        "target": TARGETS[rank],
        "quick": False,
    }
    return TrainCase(**{**fields, **more})
