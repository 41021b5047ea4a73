"""A pool of workers, one per core, that answers requests in parallel: no time is measured here."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, TypeVar

from bnsuite.launch.process.child import ChildError, SilentError
from bnsuite.launch.process.worker import TIMEOUT, RequestFailedError, Worker

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """One request about one case."""

    case: str
    #: Precedes the reason of its failure, such as "seed 3: ".
    label: str
    request: dict[str, Any]
    timeout_s: float
    #: The name of `timeout_s`, for the reason of a request that takes longer.
    limit: str = TIMEOUT
    #: Jobs with the same name here come one after another, beside others.
    turn: str = ""
    #: The code of a user's that it runs: once a job of it gave no answer in time, no other one is tried.
    subject: str = ""


class _Jobs:
    """The jobs that are left, shared by the threads that speak to the workers."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs, self._failed, self._lock = list(jobs), set[str](), threading.Lock()
        self._turns: set[str] = set()

    def take(self, before: Job | None = None) -> Job | None:
        """Returns the next job, `before` being over; None if there is none that may begin."""
        with self._lock:
            if before is not None:
                self._turns.discard(before.turn)
            self._jobs = [job for job in self._jobs if job.case not in self._failed]
            for place, job in enumerate(self._jobs):
                if not job.turn or job.turn not in self._turns:
                    self._turns.add(job.turn)
                    return self._jobs.pop(place)
            return None

    def drop(self, name: str) -> bool:
        """Leaves out further jobs of the case `name`; returns False if they were left out already."""
        with self._lock:
            known = name in self._failed
            self._failed.add(name)
            return not known

    def give_up(self, job: Job, error: Exception) -> list[Job]:
        """Leaves out further jobs of the same code if one of it gave no answer in time, and returns them."""
        if not job.subject or not isinstance(error, SilentError):
            return []
        with self._lock:
            left = [other for other in self._jobs if other.subject == job.subject]
            self._jobs = [other for other in self._jobs if other not in left]
            self._failed |= {other.case for other in left}
            return left

    def stop(self) -> None:
        with self._lock:
            self._jobs.clear()


@dataclass(frozen=True)
class Result(Generic[T]):
    """The result of a job: an answer, or the reason why there is none."""

    job: Job
    answer: T | None
    reason: str = ""
    #: Seconds until the answer; None if its process was started for it.
    took_s: float | None = None


def ask_all(
    jobs: list[Job], workers: list[Worker], kind: type[T], deadline: float | None = None
) -> Generator[Result[T], None, None]:
    """Yields the result of each of `jobs` as it comes, until `deadline` (monotonic).

    A case that failed once is not tried again, and its failure is yielded once. The deadline, or closing the
    iterator, ends the workers at once.
    """
    waiting = _Jobs(jobs)
    results: queue.SimpleQueue[Result[T] | None] = queue.SimpleQueue()

    def work(worker: Worker) -> None:
        try:
            for result in _answers(waiting, worker, kind):
                results.put(result)
        finally:
            results.put(None)

    with ThreadPoolExecutor(len(workers)) as pool:
        threads = [pool.submit(work, worker) for worker in workers]
        try:
            for _ in workers:
                while (result := results.get(timeout=_left(deadline))) is not None:
                    yield result
        except queue.Empty:
            return
        finally:
            waiting.stop()
            for worker in workers:
                worker.close()
        for thread in threads:
            thread.result()


def _answers(waiting: _Jobs, worker: Worker, kind: type[T]) -> Iterator[Result[T]]:
    """Yields the results of the jobs that one worker takes."""
    job = None
    while job := waiting.take(job):
        began, running = monotonic(), worker.running
        try:
            answer = worker.ask(job.request, kind, job.timeout_s, job.limit)
            yield Result(job, answer, took_s=monotonic() - began if running else None)
        except (ChildError, RequestFailedError) as error:
            if waiting.drop(job.case):
                yield Result(job, None, f"{job.label}{error}")
            for other in waiting.give_up(job, error):
                yield Result(other, None, f"not tried: {job.case} gave {error}")


def _left(deadline: float | None) -> float | None:
    """Returns the seconds until `deadline`, never negative; None without a deadline."""
    return None if deadline is None else max(0.0, deadline - monotonic())
