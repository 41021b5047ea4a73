"""The first article's network in Keras 3, on the torch backend, and what its parameters are called in torch.

What differs between the two libraries, found by running them side by side (see tests/test_twin.py):

- ``momentum`` is the share that is kept in Keras and the share that is taken in torch: 0.99 is 0.01.
- ``epsilon`` is 1e-3 in Keras, 1e-5 in torch.
- Keras puts the biased variance of a batch into its moving variance, torch the unbiased one: n / (n - 1) more.
- Adam's ``epsilon`` is another, in another place: see :class:`~bnsuite.cases.train.optimizers.KerasAdam`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from bnsuite.cases.networks import Mlp
from bnsuite.cases.train.training import Training

if TYPE_CHECKING:
    import torch
    from torch import nn


CLASSES = 10


def keras() -> Any:  # a module
    """Keras on the torch backend; RuntimeError if this process has loaded it on another one."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras as module

    if module.backend.backend() != "torch":
        raise RuntimeError(f"Keras was loaded on {module.backend.backend()!r}; the twin needs KERAS_BACKEND=torch")
    return module


def keras_mlp(network: Mlp) -> Any:  # a Keras model
    """`network` as a Keras model with softmax at its end: Dense - BatchNormalization - ReLU blocks."""
    layers = keras().layers
    stack = [layers.Input((network.widths[0],))]
    for place, width in enumerate(network.widths[1:-1]):
        stack.append(layers.Dense(width, name=f"dense_{place}"))
        momentum = network.norm.momentum
        assert momentum is not None, "Keras has no cumulative average"
        norm = layers.BatchNormalization(momentum=1 - momentum, epsilon=network.norm.eps, name=f"norm_{place}")
        stack.append(norm)
        stack.append(layers.ReLU())
    stack.append(layers.Dense(network.widths[-1], activation="softmax", name="head"))
    return keras().Sequential(stack)


def copy_weights(model: nn.Module, keras_model: Any) -> None:
    """Give a Keras model the linear weights of its torch twin; a kernel is the transpose of a weight."""
    from torch import nn

    dense = [layer for layer in keras_model.layers if type(layer).__name__ == "Dense"]
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    for theirs, ours in zip(dense, linear, strict=True):
        theirs.set_weights([ours.weight.detach().cpu().numpy().T, ours.bias.detach().cpu().numpy()])


class KerasTraining(Training):
    """The torch training's twin: the same initial weights and batches, Keras's model, loss and optimizer."""

    def _build(self) -> nn.Module:
        case = self._case
        assert isinstance(case.network, Mlp)
        with self._on_device():
            model = keras_mlp(case.network)
            copy_weights(case.network.build(), model)
            model.compile(optimizer=keras().optimizers.Adam(case.optimizer.lr), loss="categorical_crossentropy")
            model.optimizer.build(model.trainable_variables)
        return model  # type: ignore[no-any-return]  # on this backend a Keras model is a torch module

    def _on_device(self) -> AbstractContextManager[None]:
        """Keras moves what it is given to the device of this scope, which by itself is a GPU where there is one."""
        return keras().device(self._device)  # type: ignore[no-any-return]

    def _start_epoch(self) -> None:
        """Does nothing: the mode is an argument of each call of a Keras model."""

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        import torch

        model: Any = self.model
        x, y = x.flatten(1), self._one_hot(y)
        with self._on_device():
            model.zero_grad()
            loss = model.compute_loss(x=x, y=y, y_pred=model(x, training=True))
            loss.backward()
            variables = model.trainable_variables
            with torch.no_grad():
                model.optimizer.apply([variable.value.grad for variable in variables], variables)
        return loss.detach()  # type: ignore[no-any-return]

    def predict(self) -> torch.Tensor:
        import torch

        with self._on_device(), torch.no_grad():
            return self.model(self.data.x_val.flatten(1), training=False)  # type: ignore[no-any-return]

    def predict_in_train_mode(self) -> torch.Tensor:
        import torch

        model: Any = self.model
        before = [variable.value.detach().clone() for variable in model.non_trainable_variables]
        with self._on_device(), torch.no_grad():
            outputs = torch.cat(
                [model(batch.flatten(1), training=True) for batch in self.data.x_val.split(self._case.batch)]
            )
            for variable, value in zip(model.non_trainable_variables, before, strict=True):
                variable.value.copy_(value)
        return outputs

    def loss_of(self, outputs: torch.Tensor) -> torch.Tensor:
        model: Any = self.model
        with self._on_device():
            loss: torch.Tensor = model.compute_loss(y=self._one_hot(self.data.y_val), y_pred=outputs)
        return loss

    @staticmethod
    def _one_hot(y: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        return functional.one_hot(y, CLASSES).float()

    def layers(self) -> Iterator[tuple[str, list[torch.nn.Parameter]]]:
        model: Any = self.model
        for layer in model.layers:
            if layer.trainable_variables:
                yield layer.name, [variable.value for variable in layer.trainable_variables]
