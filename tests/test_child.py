"""Measured processes: listened to, limited in time, ended with all they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bnsuite.cases import data, profile
from bnsuite.launch.environments import Here
from bnsuite.launch.process import isolation
from bnsuite.launch.process.child import Child, ChildError, SilentError
from bnsuite.launch.process.messages import Catalogue, EnvironmentAnswer, TrainingAnswer
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.launch.process.worker import RequestFailedError, Worker
from bnsuite.record.errors import InputError

Make = Callable[..., Child]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    children: list[Child] = []

    def start(code: str, *, own_pipe: bool = True, **variables: str) -> Child:
        command = [
            sys.executable,
            "-c",
            f"import os, sys, time\nfd = int(sys.argv[1]) if len(sys.argv) > 1 else 1\n{code}",
        ]
        child = Child(
            [*command, "{fd}"] if own_pipe else command,
            environment={**os.environ, **variables},
            folder=tmp_path,
            log=tmp_path / "log.txt",
            own_pipe=own_pipe,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.end()


def test_messages_come_line_by_line_and_prints_do_not_disturb(make: Make) -> None:
    child = make("print('{noise}'); os.write(fd, b'one\\ntwo\\nthr'); time.sleep(.1); os.write(fd, b'ee\\n')")
    assert [child.receive(10) for _ in range(4)] == ["one", "two", "three", None]
    assert child.wait(10) == 0


def test_silence_has_a_limit(make: Make) -> None:
    child = make("time.sleep(600)")
    with pytest.raises(SilentError):
        child.receive(0.2)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os.kill(os.getpid(), 9)", "ended by SIGKILL; the kernel ends processes so when memory runs out"),
        ("os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
        ("sys.exit('it went wrong')", "ended with status 1: it went wrong"),
        ("sys.exit(7)", "ended with status 7"),
    ],
)
def test_how_it_ended_is_told(make: Make, code: str, said: str) -> None:
    child = make(code)
    assert child.receive(10) is None
    assert said in child.exit_reason()


def test_a_line_without_end_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnsuite.launch.process.stream.LONGEST_LINE_BYTES", 1 << 16)
    child = make("while True: os.write(fd, b'x' * 4096)")
    with pytest.raises(ChildError, match="a line without end"):
        child.receive(10)


def test_a_path_means_the_folders_that_the_user_means(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child works elsewhere: what PYTHONPATH names from here, and this folder for an empty name, is found there."""
    here = tmp_path / "here"
    (here / "patched").mkdir(parents=True)
    monkeypatch.chdir(here)
    child = make("os.write(fd, os.environ['PYTHONPATH'].encode() + b'\\n')", PYTHONPATH="patched::/elsewhere")
    assert child.receive(10) == f"{here / 'patched'}:{here}:/elsewhere"


def test_a_log_does_not_grow_without_end(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What earlier processes printed is let go of when there is too much of it."""
    monkeypatch.setattr("bnsuite.launch.process.child.MAX_LOG_BYTES", 1000)
    sizes = []
    for _ in range(3):
        child = make("os.write(2, b'x' * 600)")
        assert child.receive(10) is None
        child.end()
        sizes.append((tmp_path / "log.txt").stat().st_size)
    assert sizes == [600, 1200, 600]


def test_what_is_printed_while_it_is_waited_for_is_let_go_of_too(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A print that was left in a kernel fills no disk; the message that follows is heard, and the last words are."""
    monkeypatch.setattr("bnsuite.launch.process.child.MAX_LOG_BYTES", 1000)
    monkeypatch.setattr("bnsuite.launch.process.child.POLL_S", 0.1)
    code = "os.write(2, b'x' * 5000); time.sleep(2); os.write(fd, b'one\\n'); os.write(2, b'the end'); sys.exit(3)"
    child = make(code)
    assert child.receive(60) == "one"
    assert child.receive(60) is None
    assert child.exit_reason() == "the process ended with status 3: the end"
    assert (tmp_path / "log.txt").read_bytes() == b"the end"


def test_grandchildren_end_with_it(make: Make) -> None:
    """Data loaders and compilers that a measured process started are ended as well."""
    child = make(
        "import subprocess; p = subprocess.Popen(['sleep', '600']); os.write(fd, b'%d\\n' % p.pid); time.sleep(600)"
    )
    grandchild = int(child.receive(10) or 0)
    child.end()
    assert gone(grandchild)


def test_what_left_its_group_ends_with_it(make: Make) -> None:
    """A daemon in a session of its own is ended as well."""
    child = make(
        "import subprocess; p = subprocess.Popen(['sleep', '600'], start_new_session=True); "
        "os.write(fd, b'%d\\n' % p.pid); time.sleep(600)"
    )
    daemon = int(child.receive(10) or 0)
    child.end()
    assert gone(daemon)


def test_messages_come_without_standard_streams_too(tmp_path: Path) -> None:
    """As in a command that was started with stderr closed: no pipe takes the number of a standard stream."""
    code = (
        "import os, sys\nos.close(0)\nos.close(2)\nfrom pathlib import Path\n"
        "from bnsuite.launch.process.child import Child\n"
        "command = [sys.executable, '-c', 'import os, sys; os.write(int(sys.argv[1]), b\"one\\\\n\")', '{fd}']\n"
        "folder = Path(sys.argv[1])\n"
        "child = Child(command, environment={}, folder=folder, log=folder / 'log', own_pipe=True)\n"
        "print(child.receive(20))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=False)
    assert done.stdout == "one\n"


def test_a_full_disk_is_named_with_the_status(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process could not even log why it ended."""
    monkeypatch.setattr("bnsuite.launch.process.child.room_bytes", lambda _: 4 << 10)
    child = make("sys.exit(1)")
    assert child.receive(10) is None
    reason = child.exit_reason()
    assert reason.startswith("the process ended with status 1; ")
    assert reason.endswith(" has 4 KiB left: free some space, or set TMPDIR to another folder")


def test_a_folder_that_was_removed_is_named(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a relative PYTHONPATH needs it; an absolute one does not."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    assert make("os.write(fd, b'one\\n')", PYTHONPATH="/elsewhere").receive(10) == "one"
    with pytest.raises(InputError, match="the current folder was removed; change to one that exists"):
        make("", PYTHONPATH="patched")


def gone(pid: int) -> bool:
    """Whether a process ends within a few seconds."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


def test_writing_to_a_dead_child_is_its_error(make: Make) -> None:
    child = make("sys.exit(3)", own_pipe=False)
    assert child.wait(10) == 3
    with pytest.raises(ChildError, match="status 3"):
        child.send("x" * 1_000_000)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(WorkerOptions("worker", tmp_path, tmp_path / "data"), Here())
    yield worker
    worker.end()


def test_a_worker_answers(worker: Worker, tmp_path: Path) -> None:
    """Catalogue, place and a training; after a failure a new process answers the next request."""
    assert len(worker.ask({"do": "catalogue", "profile": "quick"}, Catalogue, 60).cases) == len(profile("quick"))
    place = worker.ask({"do": "environment", "device": "cpu"}, EnvironmentAnswer, 120)
    assert place.device == "cpu"
    assert place.environment is not None
    assert place.environment.threads == 1
    assert place.environment.variables["OMP_NUM_THREADS"] == "1"
    data.stage(["synthetic"], tmp_path / "data")
    with pytest.raises(RequestFailedError, match="CatalogueError: case no/such/case: there is none"):
        worker.ask({"do": "curve", "case": "no/such/case", "seed": 0, "device": "cpu"}, TrainingAnswer, 60)
    request = {"do": "curve", "case": "train/synthetic-mlp/bn/lr=0.01", "seed": 3, "device": "cpu"}
    curve = worker.ask(request, TrainingAnswer, 120).curve
    assert (curve.seed, len(curve.train_loss)) == (3, 25)


def test_a_worker_that_dies_is_replaced(worker: Worker) -> None:
    """The request that it died of fails; the next one is answered by a new process."""
    worker.ask({"do": "catalogue", "profile": "quick"}, Catalogue, 60)
    assert worker._process is not None
    worker._process.kill()
    with pytest.raises(ChildError, match="SIGKILL"):
        worker.ask({"do": "catalogue", "profile": "quick"}, Catalogue, 60)
    assert worker.ask({"do": "catalogue", "profile": "quick"}, Catalogue, 60).cases


def test_a_closed_worker_is_not_started_again(worker: Worker) -> None:
    """Ctrl-C ends the workers while other threads may be about to ask."""
    worker.close()
    with pytest.raises(ChildError, match="the run is over"):
        worker.ask({"do": "catalogue", "profile": "quick"}, Catalogue, 60)


def test_a_measured_process_does_not_outlive_the_coordinator(tmp_path: Path) -> None:
    """Even one that hangs ends when the coordinator is killed outright."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom bnsuite.launch.process.worker import Worker\n"
        "from bnsuite.launch.process.messages import Catalogue\n"
        "from bnsuite.launch.process.options import WorkerOptions\n"
        "from bnsuite.launch.environments import Here\n"
        "w = Worker(WorkerOptions('w', Path(sys.argv[1]), Path('x')), Here())\n"
        "w.ask({'do': 'catalogue', 'profile': 'quick'}, Catalogue, 60)\n"
        "print(w._process._process.pid, flush=True)\nimport time; time.sleep(600)"
    )
    coordinator = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert coordinator.stdout is not None
    worker = int(coordinator.stdout.readline())
    os.kill(worker, signal.SIGSTOP)  # a stopped process can't notice that its stdin ended
    coordinator.kill()
    coordinator.wait()
    assert gone(worker)


def test_nonsense_is_refused(worker: Worker) -> None:
    """An answer of the wrong shape is an error that names the field, not a result."""
    with pytest.raises(ChildError, match=r"sent an unusable message: wrong field done\.curve"):
        worker.ask({"do": "catalogue", "profile": "quick"}, TrainingAnswer, 60)


def test_a_number_that_json_has_not_is_a_failure_and_no_death(tmp_path: Path) -> None:
    """The worker tells it and answers on."""
    code = (
        "from bnsuite.measure import worker\nworker.ANSWERS['check'] = lambda _: {'value': float('nan')}\nworker.main()"
    )
    asked = '{"do": "check"}\n{"do": "start"}\n'
    done = subprocess.run([sys.executable, "-c", code], input=asked, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert "Out of range float values are not JSON compliant" in first
    assert second == '{"done": {}}'


def test_quiet_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heap is kept, threads are fixed, and a user's pytest options do not leak in."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "--pdb")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    made = isolation.process_environment(WorkerOptions("x", tmp_path, tmp_path), MORE="x")
    assert "PYTEST_ADDOPTS" not in made
    assert made["OMP_NUM_THREADS"] == "1"
    assert made["MORE"] == "x"
    assert int(made["MALLOC_MMAP_THRESHOLD_"]) > 1 << 30


@pytest.mark.parametrize(
    ("threads", "given", "taken"),
    [(1, [0, 1], [1]), (1, [5], []), (2, [0, 1], []), (2, [0, 1, 2, 3], [2, 3]), (1, [4, 7], [7])],
)
def test_the_coordinator_keeps_a_core(threads: int, given: list[int], taken: list[int]) -> None:
    """Timed processes get the last cores, if one is left over; else nobody is fixed."""
    assert isolation.timed_cores(threads, given) == taken


@pytest.mark.parametrize(
    ("threads", "given", "near", "taken"),
    [
        (1, [0, 1, 2, 3], None, [2, 3]),  # one for autograd's thread
        (1, [0, 1], None, [1]),  # no room for it
        (1, [0], None, []),
        (1, [0, 1, 2, 3], {0, 1}, [0, 1]),
        (1, [0, 1, 2, 3], {1}, [1, 3]),  # its node has not enough
        (2, [0, 1, 2, 3, 4, 5], {0, 1, 2, 3}, [1, 2, 3]),
        (1, [0, 1, 2], {40, 41}, [1, 2]),
    ],
)
def test_a_gpu_is_timed_on_cores_next_to_it(
    threads: int, given: list[int], near: set[int] | None, taken: list[int]
) -> None:
    """One more than on a CPU, and on the GPU's NUMA node as far as the node goes."""
    assert isolation.timed_cores(threads, given, on_gpu=True, near=near) == taken


@pytest.mark.parametrize(
    ("threads", "given", "quota", "workers"),
    [
        (1, [0, 1], None, [[0], [1]]),
        (2, [0, 1, 2, 3], None, [[0, 1], [2, 3]]),
        (2, [0], None, [[0]]),
        (4, [0, 1], None, [[0, 1]]),
        (1, list(range(64)), None, [[n] for n in range(8)]),
        (1, [0, 1, 2, 3], 1.5, [[0]]),
    ],
)
def test_workers_have_cores_for_their_threads(
    monkeypatch: pytest.MonkeyPatch, threads: int, given: list[int], quota: float | None, workers: list[list[int]]
) -> None:
    """Side by side, `threads` cores each, no more than the container's share of time and eight in all."""
    monkeypatch.setattr(isolation, "_cpu_quota", lambda: quota)
    assert isolation.pool_cores(threads, given) == workers


def test_the_coordinator_steps_aside_and_comes_back() -> None:
    given = isolation.cores()
    if len(given) < 2:
        pytest.skip("one core")
    with isolation.coordinator_apart(given[-1:], given):
        assert isolation.cores() == given[:-1]
    assert isolation.cores() == given
