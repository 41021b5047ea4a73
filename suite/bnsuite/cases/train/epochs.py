"""What every training in progress can do, be it of this package or of a user's file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Batches of a part of an epoch that touches everything that an epoch touches.
FEW = 4


class Epochs(ABC):
    """A call is one epoch, and nothing but the epoch."""

    model: nn.Module
    #: The batch losses of the last epoch, on the device.
    losses: list[torch.Tensor]
    #: Epochs of the whole training.
    epochs: int
    #: The validation loss that counts as learnt.
    target: float | None

    @abstractmethod
    def evaluate(self) -> tuple[float, float | None]:
        """Loss and accuracy (None where there is none) on the validation set, in evaluation mode."""

    @abstractmethod
    def step(self, *batch: Any, **named: Any) -> torch.Tensor:
        """Train on one batch and return its loss."""

    @abstractmethod
    def _batches(self) -> Iterator[tuple[Any, ...]]:
        """Yields the batches of an epoch, the arguments of :meth:`step`."""

    def _scope(self) -> AbstractContextManager[None]:
        """Encloses batches that are trained on."""
        return nullcontext()

    def __call__(self) -> None:
        """Train one epoch."""
        with self._scope():
            self.losses = [self.step(*batch) for batch in self._batches()]

    def next_batch(self) -> None:
        """Train on one batch more; epochs follow on one another."""
        with self._scope():
            self.step(*next(self._endless))

    def few_batches(self) -> None:
        """Train on the first batches of an epoch."""
        with self._scope():
            for batch in islice(self._batches(), FEW):
                self.step(*batch)

    @cached_property
    def _endless(self) -> Iterator[tuple[Any, ...]]:
        return chain.from_iterable(self._batches() for _ in count())

    def layers(self) -> Iterator[tuple[str, list[torch.nn.Parameter]]]:
        """The layers that have parameters of their own, by name, in the order of the network."""
        for name, module in self.model.named_modules():
            parameters = list(module.parameters(recurse=False))
            if parameters:
                yield f"{name}-{type(module).__name__}", parameters
