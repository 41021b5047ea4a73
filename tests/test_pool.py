"""The pool of workers: jobs that wait for one another run beside others, and never beside themselves."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from bnsuite.launch.process.messages import CheckAnswer
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.launch.process.pool import Job, ask_all
from bnsuite.launch.process.stream import SilentError
from bnsuite.launch.process.worker import Worker
from fake_environment import FakeEnvironment


def test_jobs_of_one_turn_come_one_after_another(tmp_path: Path) -> None:
    """Three workers: the two large jobs never overlap, each meets a small one, and all are done once."""
    running: set[str] = set()
    seen: list[set[str]] = []
    lock, together = threading.Lock(), threading.Barrier(2, timeout=300)

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        name = request["case"]
        with lock:
            running.add(name)
            seen.append(set(running))
        together.wait()  # a large and a small one at a time
        with lock:
            running.discard(name)
        return {"observations": [], "skipped": None}

    environment = FakeEnvironment(check=reply)
    workers = [Worker(WorkerOptions(f"w{n}", tmp_path, tmp_path, 1), environment) for n in range(2)]
    jobs = [
        Job(name, "", {"do": "check", "case": name}, 30.0, turn="large" if name.startswith("large") else "")
        for name in ("large-1", "large-2", "small-1", "small-2")
    ]
    results = list(ask_all(jobs, workers, CheckAnswer))
    assert sorted(one.job.case for one in results) == ["large-1", "large-2", "small-1", "small-2"]
    assert not any({"large-1", "large-2"} <= some for some in seen)


def test_the_last_of_a_turn_is_not_forgotten(tmp_path: Path) -> None:
    """Workers that find only jobs that must wait end; the one at work takes them."""
    environment = FakeEnvironment()
    workers = [Worker(WorkerOptions(f"w{n}", tmp_path, tmp_path, 1), environment) for n in range(3)]
    jobs = [Job(f"large-{n}", "", {"do": "check", "case": f"large-{n}"}, 30.0, turn="large") for n in range(5)]
    assert len(list(ask_all(jobs, workers, CheckAnswer))) == 5


def test_the_time_of_a_request_is_without_the_start_of_its_process(tmp_path: Path) -> None:
    """The first answer of a worker has no duration, later ones have."""
    worker = Worker(WorkerOptions("w", tmp_path, tmp_path, 1), FakeEnvironment())
    jobs = [Job(name, "", {"do": "check", "case": name}, 30.0) for name in "ab"]
    first, second = (one.took_s for one in ask_all(jobs, [worker], CheckAnswer))
    assert first is None
    assert second is not None


def test_a_users_code_that_gives_no_answer_is_not_tried_again(tmp_path: Path) -> None:
    """Its other jobs fail with that reason, at once; those of other code, and one that only raises, go on."""
    silence = SilentError("said nothing for 30 s")
    errors = {"a-1": silence, "b-1": RuntimeError("broken"), "c-1": silence}

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        if request["case"] in errors:
            raise errors[request["case"]]
        return {"observations": [], "skipped": "nothing to look at"}

    worker = Worker(WorkerOptions("w", tmp_path, tmp_path, 1), FakeEnvironment(check=reply))
    jobs = [
        Job(name, "", {"do": "check", "case": name}, 30.0, "the limit", subject="" if name[0] == "c" else name[0])
        for name in ("a-1", "b-1", "c-1", "a-2", "b-2", "c-2")
    ]
    reasons = {one.job.case: one.reason for one in ask_all(jobs, [worker], CheckAnswer)}
    assert reasons["a-1"] == "no answer after 30 s, the limit"
    assert reasons["a-2"] == "not tried: a-1 gave no answer after 30 s, the limit"
    assert reasons["b-1"] == "RuntimeError: broken"
    assert [reasons[name] for name in ("b-2", "c-2")] == ["", ""]
