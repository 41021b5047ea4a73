"""Captures and replays: a graph is a list of kernels, which is played again into the very same tensors.

What is captured does not run: what it wrote is undone when the capture ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fakecuda import faults, random_state, streams

#: Finds the tensors in results; known once the modes are.
_tensors: list[Callable[[Any], Iterator[torch.Tensor]]] = []
#: Kernels that compute nothing: the view of a tensor is the same in every replay.
VIEWS = {"aten::detach", "aten::view", "aten::alias", "aten::_unsafe_view", "aten::t", "aten::transpose.int"}
#: Arguments that a kernel writes to though its schema does not say so.
HIDDEN = {"running_mean", "running_var"}


def learn(tensors: Callable[[Any], Iterator[torch.Tensor]]) -> None:
    _tensors[:] = [tensors]


class CUDAGraph:
    """A recorded step."""

    def __init__(self, keep_graph: bool = False) -> None:
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._spoiled = self._captured = False
        self.replays = 0

    def run(self, func: Any, compute: Any, args: Any, kwargs: Any) -> Any:
        """Runs a kernel while it is captured, and records it with what it wrote over."""
        with torch._C.DisableTorchFunction():
            for tensor in _written(func, args, kwargs):
                self._before.setdefault(id(tensor), (tensor, tensor.detach().clone()))
        out = compute(*args, **kwargs)
        self._calls.append((func, compute, (args, kwargs), out))
        return out

    def spoil(self) -> None:
        """Notes that the capture is worth nothing."""
        self._spoiled = True

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global", **_: Any) -> None:
        if streams.State.captures:
            raise faults.error("operation not permitted when stream is capturing", 900)
        streams.State.captures.append(self)

    def capture_end(self) -> None:
        streams.State.captures.remove(self)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            for tensor, old in self._before.values():
                tensor.detach().copy_(old)
        self._before.clear()
        if self._spoiled:
            raise faults.error("operation failed due to a previous error during capture", 901)
        self._captured = True

    def replay(self) -> None:
        if not self._captured:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        faults.check("replay")
        self.replays += 1
        with torch.no_grad():
            for func, compute, (args, kwargs), out in self._calls:
                if func.name() in VIEWS:
                    continue
                with random_state.drawing(torch.cuda.current_device()):
                    again = compute(*args, **kwargs)
                with torch._C.DisableTorchFunction():
                    _write(out, again)

    def reset(self) -> None:
        self._calls.clear()
        self._captured = False

    def pool(self) -> tuple[int, int]:
        return (0, 1)

    def instantiate(self) -> None:
        """Nothing to be made."""


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[torch.Tensor]:
    schema = func._schema
    for place, argument in enumerate(schema.arguments):
        value = kwargs.get(argument.name, args[place] if place < len(args) else None)
        writes = argument.alias_info is not None and argument.alias_info.is_write
        if writes or ("batch_norm" in schema.name and argument.name in HIDDEN):
            yield from _tensors[0](value)


def _write(old: Any, new: Any) -> None:
    """Writes a result over that of the capture, unless it is the same memory."""
    for one, other in zip(_tensors[0](old), _tensors[0](new), strict=True):
        if one is not other and one.data_ptr() != other.data_ptr() and one.shape == other.shape:
            one.detach().copy_(other)


class graph:  # noqa: N801  # torch's name
    """Captures what is called inside. As torch's own it leaves the capture's stream set if the capture has failed."""

    def __init__(self, cuda_graph: CUDAGraph, pool: Any = None, stream: Any = None, **options: Any) -> None:
        self._graph, self._options = cuda_graph, options
        self._stream = stream or streams.Stream()

    def __enter__(self) -> None:
        streams.wait("graph")
        streams.State.streams.append(self._stream)
        self._graph.capture_begin(**self._options)

    def __exit__(self, *_: object) -> None:
        self._graph.capture_end()
        streams.State.streams.pop()


def make_graphed_callables(callables: Any, sample_args: Any, **_: Any) -> Any:
    """Returns the callables as they are, after as many calls as torch makes to warm them up."""
    many = callables if isinstance(callables, tuple) else (callables,)
    samples = sample_args if isinstance(callables, tuple) else (sample_args,)
    for call, sample in zip(many, samples, strict=True):
        for _ in range(3):
            call(*sample)
    return callables


def graph_pool_handle() -> tuple[int, int]:
    return (0, 1)


def is_current_stream_capturing() -> bool:
    return bool(streams.State.captures)


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """Runs something that is not captured."""
    saved, streams.State.captures[:] = list(streams.State.captures), []
    try:
        yield
    finally:
        streams.State.captures[:] = saved
