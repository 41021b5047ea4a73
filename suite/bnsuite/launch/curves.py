"""Trainings followed side by side, a worker a core: no time is measured here."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

from bnsuite.launch.child import ChildError
from bnsuite.launch.messages import Followed
from bnsuite.launch.worker import RequestFailed, Worker
from bnsuite.record.schema import Curve

#: A case, and one seed's curve or why there is none.
Result = tuple[str, Curve | str]


def follow(jobs: list[tuple[str, int]], workers: list[Worker], device: str, timeout_s: float) -> Generator[Result, None, None]:
    """Train each (case, seed) of `jobs` and yield the results as they come.

    A case that failed on one seed is not tried on the others, and is yielded once. Closing the iterator ends the
    workers at once.
    """
    waiting: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    results: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
    failed: set[str] = set()
    stop = threading.Event()

    def work(worker: Worker) -> None:
        try:
            while not stop.is_set():
                try:
                    name, seed = waiting.get_nowait()
                except queue.Empty:
                    return
                if name in failed:
                    continue
                request = {"do": "curve", "case": name, "seed": seed, "device": device}
                try:
                    results.put((name, worker.ask(request, Followed, timeout_s).curve))
                except (ChildError, RequestFailed) as error:
                    failed.add(name)
                    results.put((name, f"seed {seed}: {error}"))
        finally:
            results.put(None)

    with ThreadPoolExecutor(len(workers)) as pool:
        threads = [pool.submit(work, worker) for worker in workers]
        try:
            for _ in workers:
                while (result := results.get()) is not None:
                    yield result
        finally:
            stop.set()
            for worker in workers:
                worker.kill()
        for thread in threads:
            thread.result()
