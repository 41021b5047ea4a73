"""Batches from worker processes: the same training, nothing left behind, and every trouble in one line."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from multiprocessing.process import current_process
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bnsuite.cases import TrainCase, catalogue
from bnsuite.cases.train import loader
from bnsuite.cases.train.loader import LoaderError, LoaderTraining
from bnsuite.measure import devices
from bnsuite.measure.timed_case import CoreShare

pytestmark = pytest.mark.usefixtures("one_thread")

found = catalogue.case("train/loader/bn/net=cnn/data=digits/workers=2")
assert isinstance(found, TrainCase)
CASE: TrainCase = found


class Faulty(Dataset[tuple[Tensor, ...]]):
    """A data set whose samples can't be had."""

    def __init__(self, trouble: str) -> None:
        self.trouble = trouble

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        if self.trouble == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError(f"sample {index} can't be read")


def faulty(trouble: str) -> LoaderTraining:
    training = LoaderTraining(CASE, "cpu", 0)
    training._samples = Faulty(trouble)  # type: ignore[assignment]
    return training


def test_it_is_the_training_without_workers() -> None:
    """The same losses to the last bit over two epochs, while torch's own generator stays where it was."""
    training, plain = CASE.build("cpu", 3), replace(CASE, workers=0).build("cpu", 3)
    assert (type(training).__name__, type(plain).__name__) == ("LoaderTraining", "Training")
    before = torch.get_rng_state()
    for _ in range(2):
        training()
        plain()
        assert training.losses == plain.losses
    assert torch.equal(torch.get_rng_state(), before)


def test_two_workers_make_the_batches_of_an_epoch_and_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there in the midst of it; none is left after it, nor after a part of it."""
    training = LoaderTraining(CASE, "cpu", 0)
    seen: list[int] = []
    step = training.step

    def watched(x: Tensor, y: Tensor) -> Tensor:
        seen.append(len(multiprocessing.active_children()))
        return step(x, y)

    monkeypatch.setattr(training, "step", watched)
    before = len(multiprocessing.active_children())
    training.few_batches()
    assert len(multiprocessing.active_children()) == before
    assert seen[0] == before + 2
    training()
    assert len(multiprocessing.active_children()) == before


def test_a_worker_that_dies_is_named_in_one_line() -> None:
    """With the signal and the room that is left in shared memory, the usual cause."""
    with pytest.raises(LoaderError) as raised:
        faulty("dies")()
    said = str(raised.value)
    assert "\n" not in said
    assert "DataLoader worker (pid" in said
    assert "Killed" in said or "exited unexpectedly" in said
    assert loader.SHARED_MEMORY in said


def test_a_worker_that_fails_is_named_in_one_line() -> None:
    """With the worker's own error, which torch puts at the end of a traceback."""
    with pytest.raises(LoaderError) as raised:
        faulty("raises")()
    said = str(raised.value)
    assert "\n" not in said
    assert "ValueError" in said
    assert "can't be read" in said


@pytest.mark.slow
def test_an_error_of_the_step_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for one of a worker, and the workers end."""
    training = LoaderTraining(CASE, "cpu", 0)

    def failing(x: Tensor, y: Tensor) -> Tensor:
        raise ValueError("not of a worker")

    monkeypatch.setattr(training, "step", failing)
    with pytest.raises(ValueError, match="not of a worker"):
        training()


@pytest.mark.slow
def test_a_long_temporary_folder_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker sends its batches through a socket, whose path the kernel limits to 107 bytes."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    config: dict[str, Any] = current_process()._config  # type: ignore[attr-defined]  # it remembers the folder
    monkeypatch.delitem(config, "tempdir", raising=False)
    CASE.build("cpu", 0).few_batches()
    assert list(folder.iterdir()) == []


def test_the_room_in_shared_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or that there is none at all, as in a container without it."""
    monkeypatch.setattr(loader, "SHARED_MEMORY", str(tmp_path))
    assert loader._room().startswith(f"{tmp_path} has ")
    monkeypatch.setattr(loader, "SHARED_MEMORY", str(tmp_path / "shm"))
    assert loader._room().startswith(f"{tmp_path / 'shm'} is not there")


def test_an_epoch_is_timed_whole_and_its_waiting_is_no_disturbance() -> None:
    """In a comparison as well, where other trainings are timed batch by batch."""
    training = CASE.build("cpu", 0)
    assert CASE.timed_unit(training) is training
    assert CASE.processes == 3
    assert "memory" not in CASE.gates  # as many batches wait in it as happen to be ready
    with CoreShare(devices.get("cpu"), CASE.processes) as share:
        pass
    assert share.value is None


IN_THE_MIDST = """
import multiprocessing, sys
from bnsuite.cases import catalogue

def step(x, y):
    print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
    sys.stdin.read()

training = catalogue.case(sys.argv[1]).build("cpu", 0)
training.step = step
training()
"""


@pytest.mark.slow
def test_workers_end_with_a_process_that_is_killed() -> None:
    """Nobody ends them: they look for their parent every five seconds."""
    command = [sys.executable, "-c", IN_THE_MIDST, CASE.id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = [os.pidfd_open(int(pid)) for pid in process.stdout.readline().split()]
        process.kill()
    assert len(workers) == 2
    for worker in workers:
        ended, _, _ = select.select([worker], [], [], 120.0)
        os.close(worker)
        assert ended
