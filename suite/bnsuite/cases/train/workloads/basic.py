"""The networks that the articles train, each at its article's own hyperparameters, and torchvision's.

A workload's batch norm and its counterparts share data, hyperparameters and target, so that they differ in one thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bnsuite.cases.networks import Cnn, Init, Mlp, Norm, Vision
from bnsuite.cases.train.case import TrainCase
from bnsuite.cases.train.optimizers import Adam, KerasAdam, Sgd

BN, LN, GN, IN, NONE = (Norm(kind=kind) for kind in ("bn", "ln", "gn", "in", "none"))
PIXELS = {"digits": 64, "mnist": 784, "mnist-6k": 784, "digits-held-out": 64, "mnist-held-out": 784}

#: The validation loss that counts as learnt.
SYNTHETIC_TARGETS = {0.01: 0.2, 0.1: 0.25}
MLP_TARGETS = {"digits": 0.3, "mnist": 0.09, "mnist-6k": 0.3, "digits-held-out": 0.3, "mnist-held-out": 0.1}
MLP_SGD_TARGETS = {"digits": 1.0, "mnist": 0.25}
CNN_TARGETS = {"digits": 0.3, "mnist-6k": 0.7, "fashion-6k": 0.75}


def cases() -> Iterator[TrainCase]:
    """Yields the trainings of the articles; a norm variant joins the workloads in whose list it stands."""
    for lr in SYNTHETIC_TARGETS:
        for norm in (NONE, BN):
            yield synthetic_mlp(norm, lr)
    for data in ("mnist", "digits"):
        for norm in (BN, NONE, LN):
            yield mnist_mlp(norm, data)
        yield from keras_pair(f"{data}-held-out")
        for norm in (BN, NONE):
            yield mnist_mlp_sgd(norm, data)
    for norm_name in ("none", "bn"):
        for activation in ("tanh", "relu"):
            yield bad_init_regression(norm_name, activation)
    for data in ("digits", "mnist-6k", "fashion-6k"):
        for norm in (NONE, BN, GN, IN, LN):
            yield cnn(norm, data)


def synthetic_mlp(norm: Norm, lr: float, /, **more: Any) -> TrainCase:  # fields of the case
    """Article 0: 20-128-64-1, Adam, 25 epochs."""
    init: Init | None = more.pop("init", None)
    fields: dict[str, Any] = {
        "workload": "synthetic-mlp",
        "norm": norm.kind,
        "settings": {"lr": f"{lr:g}"},
        "network": Mlp(widths=(20, 128, 64, 1), norm=norm, images=False, binary=True, init=init),
        "data": "synthetic",
        "loss": "bce",
        "optimizer": Adam(lr),
        "batch": 64,
        "epochs": 25,
        "target": SYNTHETIC_TARGETS.get(lr, 0.2),
    }
    return TrainCase(**{**fields, **more})


def mnist_mlp(norm: Norm, data: str, /, **more: Any) -> TrainCase:
    """Article 1: 784-128-64-10, BN after each linear, then ReLU; Adam as it comes, batch 32, 10 epochs."""
    network = {"widths": (PIXELS[data], 128, 64, 10), "norm": norm, **more.pop("network", {})}
    fields: dict[str, Any] = {
        "workload": "mnist-mlp",
        "norm": norm.kind,
        "settings": {"data": data},
        "network": Mlp(**network),
        "data": data,
        "loss": "cross-entropy",
        "optimizer": Adam(),
        "batch": 32,
        "epochs": 5 if data == "mnist-6k" else 10,
        "target": MLP_TARGETS[data],
        "quick": False,
        "long": data.startswith("mnist"),
    }
    return TrainCase(**{**fields, **more})


def mnist_mlp_sgd(norm: Norm, data: str) -> TrainCase:
    """Article 2: 784-256-256-10, a bias only without BN, one ReLU; SGD, batch 64, unshuffled, 10 epochs."""
    return TrainCase(
        workload="mnist-mlp-sgd",
        norm=norm.kind,
        settings={"data": data},
        network=Mlp(widths=(PIXELS[data], 256, 256, 10), norm=norm, bias=False, activated=1),
        data=data,
        loss="cross-entropy",
        optimizer=Sgd(0.01),
        batch=64,
        epochs=10,
        target=MLP_SGD_TARGETS[data],
        shuffle=False,
        quick=False,
        long=data == "mnist",
    )


def bad_init_regression(norm: str, activation: str) -> TrainCase:
    """Article 3: eight hidden layers of ten, weights N(0, 0.1), biases -0.2, BN on the input too."""
    # Without BN neither gets under the variance of y, about 700.
    target = {"tanh": 300.0, "relu": 100.0}[activation]
    return TrainCase(
        workload="bad-init-regression",
        norm=norm,
        settings={"act": activation},
        network=Mlp(
            widths=(1, *(10,) * 8, 1),
            norm=Norm(kind=norm, momentum=0.5),
            images=False,
            activation=activation,
            norm_input=True,
            init=Init(std=0.1, bias=-0.2),
        ),
        data="regression",
        loss="mse",
        optimizer=Adam(0.03),
        batch=64,
        epochs=12,
        target=target,
        probed=True,
        quick=activation == "tanh",
    )


def cnn(norm: Norm, data: str, /, **more: Any) -> TrainCase:
    """Three conv - norm - ReLU blocks, SGD with momentum; images of 28x28 are halved by the first block too."""
    network = {"norm": norm, "first_stride": 1 if data == "digits" else 2, **more.pop("network", {})}
    fields: dict[str, Any] = {
        "workload": "cnn",
        "norm": norm.kind,
        "settings": {"data": data},
        "network": Cnn(**network),
        "data": data,
        "loss": "cross-entropy",
        "optimizer": Sgd(0.05, 0.9),
        "batch": 64,
        "epochs": 10 if data == "digits" else 2,
        "target": CNN_TARGETS[data],
        "timed": data != "fashion-6k",  # the same shapes as MNIST
        "long": data != "digits",
        "probed": True,
        "quick": data == "digits" and norm.kind in {"bn", "none"},
    }
    return TrainCase(**{**fields, **more})


def keras_pair(data: str) -> Iterator[TrainCase]:
    """Article 1 in Keras 3, and the same in torch: Keras's eps, momentum and Adam, a fifth held out for validation."""
    norm = Norm(kind="bn", eps=1e-3, momentum=0.01)
    for keras in (True, False):
        yield mnist_mlp(
            norm,
            data,
            workload="mnist-mlp-keras",
            norm="bn" if keras else "bn-torch",
            keras=keras,
            optimizer=KerasAdam(),
            requires=("keras",),
            timed=keras and data.startswith("digits"),  # an epoch of Keras on MNIST takes seconds
        )


def vision() -> Iterator[TrainCase]:
    """Torchvision's pairs: too slow on a CPU for more than a few batches, which are enough to time and compare them."""
    pairs: Sequence[tuple[str, str, Vision]] = (
        ("vgg11", "none", Vision(name="vgg11")),
        ("vgg11", "bn", Vision(name="vgg11_bn")),
        ("resnet18", "bn", Vision(name="resnet18")),
        ("resnet18", "gn", Vision(name="resnet18", group_norm=True)),
        ("resnet50", "bn", Vision(name="resnet50")),
    )
    for workload, norm, network in pairs:
        large = workload == "resnet50"
        for data in ("images-224",) if large else ("images-32", "fashion-32"):
            yield TrainCase(
                workload=workload,
                norm=norm,
                settings={"data": data},
                network=network,
                data=data,
                loss="cross-entropy",
                optimizer=Sgd(0.01, 0.9),
                batch=32,
                epochs=2,
                target=None,
                timed=data != "fashion-32",
                quick=False,
                long=True,
                gpu_only=large,
            )
