"""The tensors of a workload: its module, its inputs and outputs, and how near two results are."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.material.arithmetic import same_bits
from bnsuite.cases.user_files import module_from
from bnsuite.cases.workload.declared import ARGUMENTS, INPUTS, Workload
from bnsuite.cases.workload.state import SideEffectError, WorkloadError, guarded, seed_all, seed_changed

if TYPE_CHECKING:
    import torch
    from torch import nn

Path = tuple[str, ...]


@lru_cache(maxsize=16)
def _module_of(workload: Workload) -> ModuleType:
    folder = str(workload.path.parent)
    if folder not in sys.path:  # last, so that nothing beside the file hides what is installed
        sys.path.append(folder)
    seed_all(0)
    with guarded(workload, "can't be imported"):
        return module_from(workload.path, "bnsuite_workload")


def named(workload: Workload, name: str) -> Any:
    found = getattr(_module_of(workload), name, None)
    if found is None:
        raise WorkloadError(f"workload {workload}: has no {name}")
    return found


def parameters_of(function: Any) -> list[str]:
    """Returns the names of the parameters of a function, as far as Python can tell."""
    with contextlib.suppress(TypeError, ValueError):
        return list(inspect.signature(function).parameters)
    return []


def _made_on(factory: Any, device: str, arguments: Any = ()) -> Any:
    """Returns what a factory makes; one that takes a `device` is given it, and another one makes its tensors there."""
    import torch

    more: dict[str, Any] = dict(arguments) if isinstance(arguments, dict) else {}
    if not more and not arguments and not inspect.isclass(factory) and "device" in parameters_of(factory):
        more = {"device": device}
    where = torch.device(device) if device != "cpu" and not inspect.isclass(factory) else contextlib.nullcontext()
    with where:
        return factory(*(() if isinstance(arguments, dict) else arguments), **more)


def make(workload: Workload, device: str, seed: int = 0) -> nn.Module:
    """Returns the module of a workload on a device, with the weights of this seed."""
    from torch import nn

    factory = named(workload, workload.name)
    given = getattr(_module_of(workload), ARGUMENTS, None) if inspect.isclass(factory) else None
    seed_all(seed)
    with guarded(workload, f"can't be made with the arguments of {ARGUMENTS}()" if given else "can't be made"):
        arguments = given() if given is not None else ()
        if not isinstance(arguments, list | tuple | dict):
            raise TypeError(f"{ARGUMENTS}() returns a {type(arguments).__name__}, and no list")
        made = _made_on(factory, device, arguments)
        if not isinstance(made, nn.Module):
            raise TypeError(f"it is a {type(made).__name__}, and no nn.Module")
        return made.to(device)


def make_step(workload: Workload, device: str, seed: int = 0) -> Callable[[], Any]:
    """Returns the step that a workload's factory makes."""
    _module_of(workload)
    seed_all(seed)
    with guarded(workload, "can't be made"):
        made = _made_on(named(workload, workload.name), device)
        if not callable(made):
            raise TypeError(f"it returns a {type(made).__name__}, and no function to be timed")
        return made  # type: ignore[no-any-return]


def draw(workload: Workload, device: str, seed: int) -> Any:
    """Returns the inputs of one call, drawn from this seed: a list, or a dictionary of arguments by name."""
    seed_all(seed)
    with guarded(workload, f"{INPUTS}() fails"):
        drawn = named(workload, INPUTS)()
    return tree_map(lambda one: one.detach().to(device), list(drawn) if isinstance(drawn, tuple) else drawn)


def apply(module: nn.Module, inputs: Any) -> Any:
    """Returns what a module returns for `inputs`."""
    if isinstance(inputs, dict):
        return module(**inputs)
    return module(*(inputs if isinstance(inputs, list) else [inputs]))


def tree_map(change: Callable[[torch.Tensor], Any], value: Any) -> Any:
    """Returns `value` with each tensor in its lists, tuples and dictionaries changed."""
    import torch

    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: tree_map(change, one) for name, one in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(tree_map(change, one) for one in value)
    return value


def tensors(value: Any, path: Path = ()) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the tensors in nested lists, tuples, dictionaries and data classes, each with its place."""
    import torch

    if isinstance(value, torch.Tensor):
        yield ".".join(path), value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from tensors(one, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for at, one in enumerate(value):
            yield from tensors(one, (*path, str(at)))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors(getattr(value, field.name), (*path, field.name))


def outputs(workload: Workload, value: Any, *, may_be_none: bool = False) -> list[tuple[str, torch.Tensor]]:
    """Returns the tensors of a result; WorkloadError if there is none, or one that is still to be computed."""
    found = list(tensors(value))
    if not found and not may_be_none:
        raise WorkloadError(f"workload {workload}: returns {_kind(value)}, and no tensor to look at")
    for _, one in found:
        if not type(one).__module__.startswith("torch"):
            text = f"returns a {type(one).__name__}, whose values may be computed after the clock has stopped"
            raise SideEffectError(f"workload {workload}: {text}; return a torch.Tensor")
    return found


def _kind(value: object) -> str:
    return "nothing" if value is None else f"an object of type {type(value).__name__}"


def call(workload: Workload, function: Callable[[], Any], seed: int) -> Any:
    """Returns the result of a call from this seed; WorkloadError if it fails or changes what others share."""
    seed_all(seed)
    with guarded(workload, "its step fails"):
        result = function()
    if seed_changed(seed):
        raise SideEffectError(f"workload {workload}: changes the seed of torch's generator; use a torch.Generator")
    return result


def is_near(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Returns True if half of the digits are equal, taken over the whole: far more than order of sums can change."""
    import torch

    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return same_bits(one, other)
    a, b = (t.detach().cpu().double().nan_to_num(0.0, 0.0, 0.0) for t in (one, other))
    tolerance: float = torch.finfo(one.dtype).eps ** 0.5
    return rms(a - b) <= tolerance * max(rms(a), rms(b), 1e-300)


def rms(one: torch.Tensor) -> float:
    """Returns the root of the mean square, 0 of nothing."""
    return float(one.detach().double().square().mean().sqrt()) if one.numel() else 0.0


def weights_like(found: list[torch.Tensor], seed: int = 91) -> list[torch.Tensor]:
    """Returns fixed random numbers by which outputs are weighted in a loss, the same on every device."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(one.shape, generator=generator).to(one.device, one.dtype) for one in found]
