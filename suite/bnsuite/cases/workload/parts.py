"""The parts of a training of a user's own: a model, data, a loss and an optimizer under these names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsuite.cases.workload import material
from bnsuite.cases.workload.declared import Workload
from bnsuite.cases.workload.state import SideEffectError, WorkloadError, guarded, seed_all, seed_changed

if TYPE_CHECKING:
    from torch import nn

#: The names that a training must have, and may have.
REQUIRED = ("model", "data", "loss", "optimizer")
OPTIONAL = ("validation", "scheduler", "epochs", "target")
NAMES = f"{', '.join(REQUIRED[:-1])} and {REQUIRED[-1]}"
#: Epochs of a training that names no number.
EPOCHS = 5


@dataclass(frozen=True)
class Parts:
    """A training as its file made it."""

    model: nn.Module
    #: An epoch: an iterable of batches, which can be gone through again.
    data: Iterable[Any]
    #: Called with outputs and targets, or with the model and a whole batch.
    loss: Callable[..., Any]
    takes_model: bool
    optimizer: Any
    #: Called after each epoch, if there is one.
    scheduler: Any
    #: As `data`; the data itself where none was named.
    validation: Iterable[Any]
    epochs: int
    target: float | None


def make(workload: Workload, device: str, seed: int) -> Parts:
    """Returns the parts of a training from this seed, its model on a device; WorkloadError if they are no training."""
    factory = material.named(workload, workload.name)
    seed_all(seed)
    with guarded(workload, "can't be made"):
        made = factory(**({"device": device} if "device" in material.parameters_of(factory) else {}))
    if seed_changed(seed):
        advice = "each seed is a training of its own: leave it to its callers"
        raise SideEffectError(f"workload {workload}: sets the seed of torch's generator; {advice}")
    with guarded(workload, f"can't be used on {device}"):
        try:
            return _parts(made, device)
        except _NoTrainingError as error:
            raise WorkloadError(f"workload {workload}: {error}") from error


class _NoTrainingError(Exception):
    """What a factory made is no training; the message says why, without the workload."""


def _parts(made: Any, device: str) -> Parts:
    from torch import nn

    every = (*REQUIRED, *OPTIONAL)
    found: dict[str, Any] = made if isinstance(made, dict) else {name: getattr(made, name, None) for name in every}
    if missing := [name for name in REQUIRED if found.get(name) is None]:
        kind = "nothing" if made is None else f"a {type(made).__name__} without {', '.join(missing)}"
        raise _NoTrainingError(f"returns {kind}; return a dictionary, or an object, with {NAMES}")
    model, loss = found["model"], found["loss"]
    if not isinstance(model, nn.Module):
        raise _NoTrainingError(f"its model is a {type(model).__name__}, and no nn.Module")
    if not callable(loss):
        raise _NoTrainingError(f"its loss is a {type(loss).__name__}, and no function")
    model.to(device)
    if isinstance(loss, nn.Module):
        loss.to(device)
    _require_optimizer(found["optimizer"], model)
    validation = found.get("validation")
    for name in ("data", "validation"):
        if found.get(name) is not None:
            _require_batches(name, found[name])
    epochs, target = found.get("epochs"), found.get("target")
    if epochs is not None and (not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1):
        raise _NoTrainingError(f"its epochs are {epochs!r}; give a whole number above 0")
    if target is not None and not (isinstance(target, int | float) and math.isfinite(target)):
        raise _NoTrainingError(f"its target is {target!r}; give the validation loss that counts as learnt")
    return Parts(
        model=model,
        data=found["data"],
        loss=loss,
        takes_model=material.parameters_of(loss)[:1] == ["model"],
        optimizer=found["optimizer"],
        scheduler=found.get("scheduler"),
        validation=found["data"] if validation is None else validation,
        epochs=epochs or EPOCHS,
        target=None if target is None else float(target),
    )


def _require_optimizer(optimizer: Any, model: nn.Module) -> None:
    trained = {id(one) for one in model.parameters() if one.requires_grad}
    if not trained:
        raise _NoTrainingError("its model has no parameters to train")
    groups = getattr(optimizer, "param_groups", None)
    if not all(callable(getattr(optimizer, name, None)) for name in ("step", "zero_grad")) or groups is None:
        raise _NoTrainingError(f"its optimizer is a {type(optimizer).__name__}; make one of torch.optim")
    if not any(id(one) in trained for group in groups for one in group["params"]):
        raise _NoTrainingError("its optimizer has no parameter of the model; make it from model.parameters()")


def _require_batches(name: str, data: Any) -> None:
    import torch
    from torch.utils.data import Dataset

    kind = type(data).__name__
    if isinstance(data, Dataset):
        raise _NoTrainingError(f"its {name} is a {kind}, which has no batches; put it into a DataLoader")
    if isinstance(data, Iterator):
        raise _NoTrainingError(f"its {name} is a {kind}, which ends with the first epoch; give a list or a DataLoader")
    if isinstance(data, torch.Tensor | dict | str) or not hasattr(type(data), "__iter__"):
        raise _NoTrainingError(f"its {name} is a {kind}; give an iterable of batches, such as a DataLoader")
