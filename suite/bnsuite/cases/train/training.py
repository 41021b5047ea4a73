"""The training in progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from bnsuite.cases.train.epochs import Epochs

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bnsuite.cases.train.case import TrainCase


#: Batches that are gathered from the data at once.
GATHERED = 64


class Training(Epochs):
    """A training of this package.

    Initialisation and the order of the data come from the CPU generator whatever the device, so that the same seed
    starts the same training everywhere and two environments can be compared seed by seed. What is drawn while it
    trains (dropout) comes from the device's generator, whose state is the training's own.
    """

    def __init__(self, case: TrainCase, device: str, seed: int) -> None:
        import torch
        from torch.nn import functional

        from bnsuite.cases import data

        self.data = data.load(case.data, device)
        self._case, self._device = case, device
        self._order = torch.Generator().manual_seed(seed)
        losses = {
            "bce": functional.binary_cross_entropy_with_logits,
            "cross-entropy": functional.cross_entropy,
            "mse": functional.mse_loss,
        }
        self._loss: Any = losses[case.loss]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = self._build()
        self._parameters = list(self.model.parameters())
        self._random = any(isinstance(layer, torch.nn.Dropout) for layer in self.model.modules())
        self._chance: torch.Tensor | None = None
        self._seed = seed
        self.losses = []
        self.epochs, self.target = case.epochs, case.target

    def _build(self) -> nn.Module:
        model = self._case.network.build().to(self._device)
        self._optimizer = self._case.optimizer.build(model.parameters())
        return model

    def _scope(self) -> AbstractContextManager[None]:
        return self._own_chance()

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches of an epoch; many are gathered at once, which is quicker than each by itself."""
        data, size = self.data, self._case.batch
        order = self._shuffled()
        self._start_epoch()
        for chosen in order.to(data.x_train.device).split(GATHERED * size):
            x, y = data.x_train.index_select(0, chosen), data.y_train.index_select(0, chosen)
            yield from zip(x.split(size), y.split(size), strict=True)

    def _shuffled(self) -> torch.Tensor:
        """The samples of an epoch, in their order."""
        import torch

        samples = len(self.data.x_train)
        return torch.randperm(samples, generator=self._order) if self._case.shuffle else torch.arange(samples)

    def _start_epoch(self) -> None:
        self.model.train()

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Train on one batch and return its loss."""
        for parameter in self._parameters:
            parameter.grad = None  # what zero_grad does, without its bookkeeping
        loss = self._loss(self.model(x), y)
        loss.backward()
        self._optimizer.step()
        detached: torch.Tensor = loss.detach()
        return detached

    def evaluate(self) -> tuple[float, float | None]:
        """Loss and accuracy (None for a regression) on the validation set, in evaluation mode."""
        outputs = self.predict()
        loss = float(self.loss_of(outputs))
        return loss, None if self._case.loss == "mse" else float(self.correct(outputs).float().mean())

    def predict(self) -> torch.Tensor:
        """The outputs for the validation set, in evaluation mode."""
        import torch

        self.model.eval()
        with torch.no_grad():
            outputs: torch.Tensor = self.model(self.data.x_val)
        return outputs

    def predict_in_train_mode(self) -> torch.Tensor:
        """The outputs for the validation set in training mode, batch by batch; the model stays as it was."""
        import torch

        self.model.train()
        before = {name: value.clone() for name, value in self.model.named_buffers()}
        batches = self.data.x_val.split(self._case.batch)
        if len(batches) > 1 and len(batches[-1]) == 1:  # batch norm can't train on a single sample
            batches = (*batches[:-2], torch.cat(batches[-2:]))
        with torch.no_grad(), self._own_chance(keep=False):
            outputs = torch.cat([self.model(batch) for batch in batches])
        for name, value in self.model.named_buffers():
            value.copy_(before[name])
        return outputs

    def loss_of(self, outputs: torch.Tensor) -> torch.Tensor:
        """The loss of outputs for the validation set."""
        loss: torch.Tensor = self._loss(outputs, self.data.y_val)
        return loss

    def correct(self, outputs: torch.Tensor) -> torch.Tensor:
        """Returns a mask of the samples of the validation set that are classified correctly."""
        guess = outputs > 0 if outputs.dim() == 1 else outputs.argmax(1)
        return guess == self.data.y_val

    @contextmanager
    def _own_chance(self, *, keep: bool = True) -> Iterator[None]:
        """Draws inside from this training's own generator state."""
        import torch

        if not self._random:
            yield
            return
        kind = torch.device(self._device).type
        state = torch.random if kind == "cpu" else getattr(torch, kind)
        with torch.random.fork_rng(devices=[] if kind == "cpu" else [self._device], device_type=kind):
            if self._chance is None:
                torch.manual_seed(self._seed)
            else:
                state.set_rng_state(self._chance)
            yield
            if keep:
                self._chance = state.get_rng_state()
