"""Which storages are "on a GPU": the one place that knows, with the bytes of each and the most that there were.

A mark belongs to a storage, not to a tensor: views, parameters, `detach` and `.data` have it by themselves. A weak
reference keeps the place of a storage from being used again, so no mark is inherited by chance.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

#: The blocks in which a GPU's allocator gives its bytes away.
BLOCK_BYTES = 512


def total_bytes() -> int:
    """Returns the bytes of each GPU; FAKE_CUDA_BYTES makes it smaller."""
    return int(os.environ.get("FAKE_CUDA_BYTES") or 140 << 30)


class Ledger:
    """The storages of all GPUs. Bytes are counted as the caching allocator rounds them."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[StorageWeakRef, int, int]] = {}
        self._live: dict[int, int] = {}
        self._peak: dict[int, int] = {}
        self._most_reserved: dict[int, int] = {}

    def where(self, tensor: torch.Tensor) -> int | None:
        """Returns the number of the GPU that a tensor is on; None for the CPU."""
        found = self._known.get(_place(tensor))
        return None if found is None or found[0].expired() else found[1]

    def mark(self, tensor: torch.Tensor, gpu: int) -> None:
        """Puts the storage of a tensor on a GPU; one that is there stays what it is."""
        place = _place(tensor)
        found = self._known.get(place)
        if found is not None and not found[0].expired():
            return
        with torch._C.DisableTorchFunction():
            storage = tensor.untyped_storage()
            size = -(-storage.nbytes() // BLOCK_BYTES) * BLOCK_BYTES
            if found is not None:
                self._forget(place)
            self._known[place] = (StorageWeakRef(storage), gpu, size)
        self._live[gpu] = self._live.get(gpu, 0) + size
        if self._live[gpu] > self._peak.get(gpu, 0):  # what is gone is counted out only where it matters
            self._sweep()
            if self._live.get(gpu, 0) > total_bytes():
                self._forget(place)
                raise _full(gpu, size, total_bytes() - self._live[gpu])
            self._peak[gpu] = max(self._peak.get(gpu, 0), self._live.get(gpu, 0))
            self._most_reserved[gpu] = max(self._most_reserved.get(gpu, 0), self._peak[gpu])

    def unmark(self, tensor: torch.Tensor) -> None:
        """Puts the storage of a tensor on the CPU."""
        if _place(tensor) in self._known:
            self._forget(_place(tensor))

    def live_bytes(self, gpu: int) -> int:
        self._sweep()
        return self._live.get(gpu, 0)

    def peak_bytes(self, gpu: int) -> int:
        return max(self._peak.get(gpu, 0), self.live_bytes(gpu))

    def reserved_bytes(self, gpu: int) -> int:
        """The most that there ever was: a cache that gives nothing back until it is emptied."""
        return max(self._most_reserved.get(gpu, 0), self.peak_bytes(gpu))

    def reset_peak(self, gpu: int) -> None:
        self._peak[gpu] = self.live_bytes(gpu)

    def empty_cache(self) -> None:
        self._sweep()
        self._most_reserved = dict(self._live)

    def _sweep(self) -> None:
        for place in [place for place, (weak, _, _) in self._known.items() if weak.expired()]:
            self._forget(place)

    def _forget(self, place: int) -> None:
        _, gpu, size = self._known.pop(place)
        self._live[gpu] -= size


LEDGER = Ledger()


def _full(gpu: int, size: int, free: int) -> RuntimeError:
    """Returns torch's error for so many bytes too many."""
    gib, mib = 1 << 30, 1 << 20
    return torch.OutOfMemoryError(
        f"CUDA out of memory. Tried to allocate {size / mib:.2f} MiB. GPU {gpu} has a total capacity of "
        f"{total_bytes() / gib:.2f} GiB of which {free / mib:.2f} MiB is free. Including non-PyTorch memory, this "
        f"process has {(total_bytes() - free) / mib:.2f} MiB memory in use."
    )


def _place(tensor: torch.Tensor) -> int:
    """Returns the address of a tensor's storage; 0 where it has none."""
    with torch._C.DisableTorchFunction():
        try:
            while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
                tensor = torch._C._functorch.get_unwrapped(tensor)
            return int(tensor.untyped_storage()._cdata)
        except (NotImplementedError, RuntimeError):  # sparse, or a wrapper
            return 0


def same_storage(one: torch.Tensor, other: torch.Tensor) -> bool:
    return _place(one) == _place(other)


def tensors(values: Any) -> Iterator[torch.Tensor]:
    """Yields the tensors in arguments or results, however deep."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, dict):
        yield from tensors(list(values.values()))
    elif isinstance(values, (tuple, list)):
        for one in values:
            if isinstance(one, (torch.Tensor, tuple, list, dict)):
                yield from tensors(one)


def gpus_of(values: Iterable[Any]) -> set[int]:
    """Returns the GPUs that tensors are on."""
    return {gpu for one in tensors(list(values)) if (gpu := LEDGER.where(one)) is not None}
