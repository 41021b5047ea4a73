"""A training whose batches come from the worker processes of a ``torch.utils.data.DataLoader``.

Workers start anew in every epoch, as a DataLoader has it by default, and by the method that is Python's default. Their
start and their end are part of the epoch. They share its cores: the time of an epoch is the work of all its processes.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bnsuite.cases.train.training import Training

if TYPE_CHECKING:
    import torch

    from bnsuite.cases.train.case import TrainCase

#: Seconds without a batch after which a worker counts as hanging.
BATCH_S = 180.0
#: Where workers put their batches.
SHARED_MEMORY = "/dev/shm"  # noqa: S108  # it is named in a message
#: The longest folder in which a worker can make a socket: Python adds 32 bytes, and 107 is the kernel's limit.
SOCKET_FOLDER_BYTES = 75


class LoaderError(RuntimeError):
    """A worker of the DataLoader ended, hangs, or failed."""


class LoaderTraining(Training):
    """The same batches in the same order as without workers: the same training, to the last bit on a CPU."""

    def __init__(self, case: TrainCase, device: str, seed: int) -> None:
        import torch
        from torch.utils.data import TensorDataset

        from bnsuite.cases import data

        super().__init__(case, device, seed)
        in_memory = data.load(case.data, "cpu")
        self._samples = TensorDataset(in_memory.x_train, in_memory.y_train)
        self._seeds = torch.Generator().manual_seed(seed)  # of the workers, which draw nothing

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        from torch.utils.data import DataLoader

        batches = [chosen.tolist() for chosen in self._shuffled().split(self._case.batch)]
        self._start_epoch()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of more workers than cores, and of forks beside threads
            loaded: Iterator[list[torch.Tensor]] = iter(
                DataLoader(
                    self._samples,
                    batch_sampler=batches,
                    num_workers=self._case.workers,
                    timeout=BATCH_S,
                    worker_init_fn=_begin,
                    generator=self._seeds,
                    pin_memory=self._device != "cpu",
                )
            )
        for x, y in loaded:
            yield x.to(self._device, non_blocking=True), y.to(self._device, non_blocking=True)

    def __call__(self) -> None:
        with _explained():
            super().__call__()

    def few_batches(self) -> None:
        with _explained():
            super().few_batches()


def _begin(_: int) -> None:
    """Has a worker make its sockets where their names are short enough; Python before 3.14 does not see to that."""
    if len(os.fsencode(tempfile.gettempdir())) > SOCKET_FOLDER_BYTES:
        tempfile.tempdir = "/tmp"  # noqa: S108  # what is made there has a random name and ends with the worker


@contextmanager
def _explained() -> Iterator[None]:
    """Raises LoaderError, in one line, for the error of a worker; torch also raises it in the midst of a step."""
    try:
        yield
    except Exception as error:
        lines = str(error).strip().splitlines()
        if not lines or "DataLoader" not in lines[0]:
            raise
        said = lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1].strip()}"
        room = "" if "timed out" in said else f"; {_room()}"
        raise LoaderError(f"{said.rstrip('. ')}{room}") from error


def _room() -> str:
    """Returns what there is of shared memory: too little of it kills a worker with SIGBUS."""
    try:
        of = os.statvfs(SHARED_MEMORY)
    except OSError:
        return f"{SHARED_MEMORY} is not there, and workers need it for their batches"
    return f"{SHARED_MEMORY} has {of.f_bavail * of.f_frsize >> 20} MiB left (docker: --shm-size)"
