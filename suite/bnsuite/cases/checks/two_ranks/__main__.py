"""One of two ranks: ``python -m bnsuite.cases.checks.two_ranks RANK FOLDER DEVICE``.

It ends when its stdin does, whatever it is waiting for then.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import traceback
import warnings
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from bnsuite.cases import precision
from bnsuite.cases.checks.two_ranks import RANKS, programs


def _listen(questions: SimpleQueue[dict[str, Any]], folder: Path) -> None:
    for line in sys.stdin:
        questions.put(json.loads(line))
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _join_group(rank: int, folder: Path, device: str) -> str:
    """Become a rank; the device it computes on. NCCL wants a GPU for each rank, gloo lets them share."""
    import torch
    from torch import distributed

    backend = "gloo"
    if device != "cpu":
        count = torch.cuda.device_count()
        if count >= RANKS and distributed.is_nccl_available():
            backend = "nccl"
            device = f"cuda:{(torch.device(device).index + rank) % count}"
        torch.cuda.set_device(device)
    store = distributed.FileStore(  # type: ignore[attr-defined]  # it is there, and documented
        str(folder / "store"), RANKS
    )
    distributed.init_process_group(backend, store=store, rank=rank, world_size=RANKS, timeout=timedelta(seconds=120))
    return device


def main() -> None:
    rank, folder, device = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    questions: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_listen, args=(questions, folder), daemon=True).start()
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if device != "cpu":
        precision.exact_products()
    device = _join_group(rank, folder, device)
    (folder / f"ready-{rank}").touch()
    while True:
        question = questions.get()
        answer: dict[str, Any]
        try:
            answer = programs.PROGRAMS[question["program"]](rank, device, **question["arguments"])
        except Exception as error:  # noqa: BLE001  # whatever the layer raises is an answer
            traceback.print_exc()
            answer = {"failed": type(error).__name__}
        name = f"{question['number']}-{rank}"
        torch.save(answer, folder / f"{name}.part")
        if "failed" in answer:
            (folder / f"{name}-failed").touch()
        (folder / f"{name}.part").replace(folder / name)


if __name__ == "__main__":
    main()
