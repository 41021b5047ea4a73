"""A training of a user's own in progress, made anew for each seed, and trained batch by batch."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bnsuite.cases.train.epochs import FEW, Epochs
from bnsuite.cases.workload import material
from bnsuite.cases.workload.declared import Workload
from bnsuite.cases.workload.parts import make
from bnsuite.cases.workload.state import (
    Processes,
    SharedState,
    SideEffectError,
    WorkloadError,
    guarded,
    seed_all,
    seed_changed,
    told,
)

if TYPE_CHECKING:
    import torch

#: Batches whose losses a new training must repeat.
COMPARED = 3
#: The distance of the seeds of two epochs, and the number of seeds that there are: NumPy's have 32 bits.
STRIDE, SEEDS = 7919, 1 << 31
#: The name of the thread that hands indices to a DataLoader's processes, and the most that it takes to end.
FEEDER, FEEDER_S = "QueueFeederThread", 10.0
#: The number of an epoch beside all others, whose first batches are always the same.
BESIDE = -1


class UserTraining(Epochs):
    """A training in progress, on batches as its data has them.

    Generators are seeded before it is made and, with another seed, before each epoch: what is drawn in between changes
    nothing.
    """

    def __init__(self, workload: Workload, device: str, seed: int = 0) -> None:
        self._processes = Processes()
        self._pid, self._getpid = self._processes.pid, os.getpid
        self.workload, self._device, self._seed = workload, device, seed
        self._parts = make(workload, device, seed)
        self.model, self.losses = self._parts.model, []
        self.epochs, self.target = self._parts.epochs, self._parts.target
        self._epoch = self._batch = self._drawn = 0

    @property
    def loading_processes(self) -> int:
        """Processes that a DataLoader has for its batches."""
        return int(getattr(self._parts.data, "num_workers", 0))

    def _error(self, text: str) -> WorkloadError:
        return WorkloadError(f"workload {self.workload}: {text}")

    def _side_effect(self, text: str) -> SideEffectError:
        return SideEffectError(f"workload {self.workload}: {text}")

    def _scope(self) -> AbstractContextManager[None]:
        return told(self.workload, lambda: f"batch {self._batch} of an epoch fails")

    def _batches(self) -> Iterator[tuple[Any]]:
        yield from self._epoch_of(self._epoch)
        if self._parts.scheduler is not None:
            with told(self.workload, "its scheduler fails after an epoch"):
                self._parts.scheduler.step()
        self._epoch += 1

    def _epoch_of(self, number: int) -> Iterator[tuple[Any]]:
        self._drawn = (self._seed + STRIDE * (1 + number)) % SEEDS
        seed_all(self._drawn)
        self.model.train()
        self._batch = 1
        for batch in self._parts.data:
            yield (batch,)
            self._batch += 1
        if self._batch == 1:
            raise self._error("its data is empty: an epoch has no batch")
        self._require_seed()

    def _require_seed(self) -> None:
        if seed_changed(self._drawn):
            raise self._side_effect("sets the seed of torch's generator while it trains; use a torch.Generator")

    def few_batches(self) -> None:
        """Train on the first batches of an epoch that is always the same."""
        self.train_on(FEW)

    def train_on(self, count: int) -> list[torch.Tensor]:
        """Train on the first `count` batches of that epoch; returns their losses."""
        losses: list[torch.Tensor] = []
        with self._scope():
            for (batch,) in self._epoch_of(BESIDE):
                losses.append(self.step(batch))
                if len(losses) == count:
                    break
        self._require_seed()
        return losses

    def first_batch(self) -> Any:
        """Returns the first batch of that epoch."""
        with self._scope():
            return next(self._epoch_of(BESIDE))[0]

    def step(self, batch: Any) -> torch.Tensor:
        """Train on one batch and return its loss."""
        self._parts.optimizer.zero_grad()
        loss, _, _ = self._forward(batch)
        if not loss.requires_grad:
            raise self._error("its loss has no gradient; compute it from what the model returns")
        loss.backward()
        self._parts.optimizer.step()
        self._end_child()
        return loss.detach().reshape(())

    def _end_child(self) -> None:
        """Ends a child that a step has forked: it has no threads of autograd's, and a backward pass would never end."""
        if self._getpid() != self._pid:
            self._processes.end_child()

    def _forward(self, batch: Any) -> tuple[torch.Tensor, Any, Any]:
        """Returns the loss of a batch, its outputs and its targets; of ``loss(model, batch)`` the loss alone."""
        if self._device != "cpu":
            batch = _moved(batch, self._device)
        if self._parts.takes_model:
            return self._scalar(self._parts.loss(self.model, batch)), None, None
        if not isinstance(batch, list | tuple) or len(batch) < 2:
            kind = type(batch).__name__
            raise self._error(f"a batch is a {kind}, and no pair of inputs and targets; write loss(model, batch)")
        *inputs, targets = batch
        outputs = self.model(*inputs)
        return self._scalar(self._parts.loss(outputs, targets)), outputs, targets

    def _scalar(self, loss: Any) -> torch.Tensor:
        import torch

        self._end_child()
        kind = type(loss)
        if not isinstance(loss, torch.Tensor):
            raise self._error(f"its loss is a {kind.__name__}, and no tensor")
        if loss.numel() != 1:
            raise self._error(f"its loss has the shape {tuple(loss.shape)}, and is no scalar; take its mean")
        if not kind.__module__.startswith("torch"):
            text = f"its loss is a {kind.__name__}, whose value may be computed after the clock has stopped"
            raise self._side_effect(f"{text}; return a torch.Tensor")
        return loss

    def evaluate(self) -> tuple[float, float | None]:
        """Loss by sample, and accuracy where targets are classes and outputs have a value per class."""
        import torch

        seed_all(self._seed)
        self.model.eval()
        losses, sizes, correct = [], [], []
        with told(self.workload, "its validation fails"), torch.no_grad():
            for batch in self._parts.validation:
                loss, outputs, targets = self._forward(batch)
                losses.append(loss.detach().reshape(()))
                sizes.append(next((len(one) for _, one in material.tensors(batch) if one.dim()), 1))
                correct.append(_correct(outputs, targets))
        if not losses:
            raise self._error("its validation is empty: it has no batch")
        mean = math.fsum(a * b for a, b in zip(torch.stack(losses).tolist(), sizes, strict=True)) / max(1, sum(sizes))
        if self._epoch == 0 and not math.isfinite(mean):
            raise self._error(f"its loss is {mean} before the first step; look at its data and at its loss")
        told_apart = [one.flatten() for one in correct if one is not None]
        has_accuracy = len(told_apart) == len(correct)
        return mean, float(torch.cat(told_apart).double().mean()) if has_accuracy else None

    def close(self) -> None:
        """Ends the processes and threads that a DataLoader has for its batches."""
        self.__dict__.pop("_endless", None)
        for loader in (self._parts.data, self._parts.validation):
            if getattr(loader, "persistent_workers", False):
                vars(loader)["_iterator"] = None
        for thread in threading.enumerate():
            if thread.name == FEEDER:  # its queue is closed
                thread.join(FEEDER_S)

    def trouble(self) -> str | None:
        """Returns what the training has left behind, or None."""
        self.close()
        return self._processes.trouble()


class WorkloadTraining(UserTraining):
    """The same, with what is compared before and after it was timed or recorded."""

    def __init__(self, workload: Workload, device: str, seed: int = 0) -> None:
        self._shared = SharedState()
        self._expected = _expected(workload, device, seed)
        super().__init__(workload, device, seed)

    def results(self) -> list[torch.Tensor]:
        """Returns losses of the first batches of a new training and its parameters after them."""
        other = UserTraining(self.workload, self._device, self._seed)
        losses = other.train_on(COMPARED)
        return [*losses, *(one.detach() for one in other.model.parameters())]

    def verify(self) -> None:
        """Raises SideEffectError if something was left behind, or if a new training begins unlike one before."""
        if (trouble := self.trouble() or self._shared.changed()) is not None:
            raise self._side_effect(trouble)
        now = _first_losses(self.workload, self._device, self._seed)
        if len(now) != len(self._expected) or not all(map(material.is_near, now, self._expected)):
            text = "a new training begins with other losses than one before it, from the same seed"
            raise self._side_effect(f"{text}; make its model, data and optimizer anew in each call")


def _first_losses(workload: Workload, device: str, seed: int) -> list[torch.Tensor]:
    """Returns the losses of the first batches of a new training."""
    with guarded(workload, "its first batches fail"):
        training = UserTraining(workload, device, seed)
        losses = [one.cpu() for one in training.train_on(COMPARED)]
    if (trouble := training.trouble()) is not None:
        raise SideEffectError(f"workload {workload}: {trouble}")
    return losses


#: What the first training from a seed in this process began with.
_expected = lru_cache(maxsize=4)(_first_losses)


def _moved(value: Any, device: str) -> Any:
    """Returns a batch on a device; an object that is no container moves itself, if it can."""
    if isinstance(value, dict):
        return {name: _moved(one, device) for name, one in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_moved(one, device) for one in value)
    return value.to(device) if hasattr(value, "to") else value


def _correct(outputs: Any, targets: Any) -> torch.Tensor | None:
    """Returns a mask of the targets (N, ...) that outputs (N, classes, ...) give the highest value; None for others."""
    import torch

    if not (isinstance(outputs, torch.Tensor) and isinstance(targets, torch.Tensor)):
        return None
    is_class = not (targets.is_floating_point() or targets.is_complex() or targets.dtype is torch.bool)
    fits = outputs.dim() == targets.dim() + 1 and (outputs.shape[0], *outputs.shape[2:]) == targets.shape
    return outputs.argmax(1) == targets.to(outputs.device) if is_class and fits else None
