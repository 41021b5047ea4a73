"""Trainings followed side by side, a worker a core: no time is measured here."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

from bnsuite.launch.child import ChildError
from bnsuite.launch.messages import Followed
from bnsuite.launch.worker import RequestFailedError, Worker

#: A case, and what one seed gave or why it gave nothing.
Result = tuple[str, Followed | str]


class _Jobs:
    """The trainings still to be followed, shared by the threads that speak to the workers."""

    def __init__(self, jobs: list[tuple[str, int]]) -> None:
        self._jobs, self._failed, self._lock = list(reversed(jobs)), set[str](), threading.Lock()

    def take(self) -> tuple[str, int] | None:
        with self._lock:
            while self._jobs:
                name, seed = self._jobs.pop()
                if name not in self._failed:
                    return name, seed
            return None

    def drop(self, name: str) -> bool:
        """Try `name` no more; False if that was known."""
        with self._lock:
            known = name in self._failed
            self._failed.add(name)
            return not known

    def stop(self) -> None:
        with self._lock:
            self._jobs.clear()


def follow(
    jobs: list[tuple[str, int]], workers: list[Worker], device: str, timeout_s: float
) -> Generator[Result, None, None]:
    """Train each (case, seed) of `jobs` and yield the results as they come.

    A case that failed on one seed is not tried on the others, and its failure is yielded once. Closing the
    iterator ends the workers at once.
    """
    waiting = _Jobs(jobs)
    results: queue.SimpleQueue[Result | None] = queue.SimpleQueue()

    def work(worker: Worker) -> None:
        try:
            while job := waiting.take():
                name, seed = job
                request = {"do": "curve", "case": name, "seed": seed, "device": device}
                try:
                    followed = worker.ask(request, Followed, timeout_s)
                    if (followed.curve.seed, followed.detail.seed) != (seed, seed):
                        raise ChildError("answered for another seed")
                    results.put((name, followed))
                except (ChildError, RequestFailedError) as error:
                    if waiting.drop(name):
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
            waiting.stop()
            for worker in workers:
                worker.close()
        for thread in threads:
            thread.result()
