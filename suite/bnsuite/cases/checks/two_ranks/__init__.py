"""Processes, two if not said otherwise, that compute together as ranks, for checks.

They start with the first request and serve the following ones. After anything but a good answer they are ended,
for one of them may still wait for the other. Requests go to their stdin, one JSON line each; answers are files.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsuite.cases import implementation
from bnsuite.cases.checks.case import CheckNotApplicableError, Subject

RANKS = 2
#: The limit for starting two of them, with torch and the process group, on a cold machine.
START_UP_S = 90.0
#: The time limit of a check that may have to start them, and of more than two.
LIMIT_S, LIMIT_OF_MORE_S = 150.0, 300.0
#: The limit for an answer, a rank: they may share a core.
ASKED_S = 10.0
#: Seconds that the other rank may go on after one has failed.
GRACE_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """The outcome of a request, as a word that is the same in every run, and the answers of the ranks."""

    word: str
    answers: tuple[dict[str, Any], ...] = ()


def ask(subject: Subject, program: str, *, ranks: int = RANKS, **arguments: Any) -> Outcome:
    """Runs `program` on all `ranks`, a function of ``programs.py``, on the subject's device; returns the outcome.

    The word is "done", "hangs", or says which rank failed, and how.
    """
    key = (subject.device, implementation.named(), ranks)
    pair = _PAIRS.get(key)
    if pair is None:
        from torch import distributed

        if not distributed.is_available() or not distributed.is_gloo_available():
            raise CheckNotApplicableError("this torch is built without torch.distributed and gloo")
        _close_all()
        pair = _PAIRS[key] = _Ranks(subject.device, ranks)
    outcome = pair.ask(program, arguments, ASKED_S * ranks)
    if outcome.word != "done":
        pair.close()
        del _PAIRS[key]
    return outcome


def same_on_both(answers: tuple[dict[str, Any], ...], names: Iterable[str]) -> str:
    """Returns "equal" or "differ", of the tensors with these names in all ranks' answers."""
    import torch

    first, *others = answers
    different = [name for name in names if not all(torch.equal(first[name], other[name]) for other in others)]
    return "differ" if different else "equal"


class _Ranks:
    def __init__(self, device: str, ranks: int) -> None:
        self._ranks = ranks
        self._folder = tempfile.TemporaryDirectory(prefix="bnsuite-ranks-", ignore_cleanup_errors=True)
        self._asked = 0
        root = str(Path(__file__).parents[4])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        if Path("/sys/class/net/lo").exists():  # a host's name may lead nowhere
            environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
        self._log = Path(self._folder.name, "log.txt")
        with self._log.open("wb") as log:
            self._processes = [
                subprocess.Popen(
                    [sys.executable, "-m", __name__, str(rank), str(ranks), self._folder.name, device],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment,
                )
                for rank in range(ranks)
            ]
        word = self._wait("ready", START_UP_S * ranks / RANKS)
        if word != "done":
            said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            self.close()
            raise RuntimeError(f"{ranks} ranks do not come up: {said[-1] if said else word}")

    def ask(self, program: str, arguments: dict[str, Any], limit_s: float) -> Outcome:
        import torch

        self._asked += 1
        question = json.dumps({"number": self._asked, "program": program, "arguments": arguments})
        with contextlib.suppress(BrokenPipeError):  # how it died is found out below
            for process in self._processes:
                assert process.stdin is not None
                process.stdin.write(f"{question}\n".encode())
                process.stdin.flush()
        word = self._wait(str(self._asked), limit_s)
        if word not in {"done", "failed"}:
            return Outcome(word)
        paths = self._answers(str(self._asked))
        answers = {rank: torch.load(path, map_location="cpu") for rank, path in paths.items() if path.exists()}
        failures = [f"rank {rank}: {answer['failed']}" for rank, answer in answers.items() if "failed" in answer]
        for path in paths.values():
            path.unlink(missing_ok=True)
        return Outcome(failures[0] if failures else "done", tuple(answers.values()))

    def _answers(self, name: str) -> dict[int, Path]:
        return {rank: Path(self._folder.name, f"{name}-{rank}") for rank in range(self._ranks)}

    def _wait(self, name: str, limit_s: float) -> str:
        """Waits for the answers called `name`: "done", "failed" if only some came, "hangs", or who died how."""
        end = time.monotonic() + limit_s
        waiting = self._answers(name)
        failures = {rank: path.with_name(f"{path.name}-failed") for rank, path in waiting.items()}
        while time.monotonic() < end:
            waiting = {rank: path for rank, path in waiting.items() if not path.exists()}
            if not waiting:
                return "done"
            if any(path.exists() for path in failures.values()):
                return self._linger(waiting)
            for rank in waiting:
                status = self._processes[rank].poll()
                if status is not None:
                    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with {status}"
                    return f"rank {rank} ended {how}"
            time.sleep(0.002)
        return "hangs"

    @staticmethod
    def _linger(waiting: dict[int, Path]) -> str:
        """Waits a moment for the others: they may have failed as well, and the word names the first of them."""
        end = time.monotonic() + GRACE_S
        while time.monotonic() < end and not all(path.exists() for path in waiting.values()):
            time.sleep(0.01)
        return "failed"

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        self._folder.cleanup()


_PAIRS: dict[tuple[str, str | None, int], _Ranks] = {}


@atexit.register
def _close_all() -> None:
    for pair in _PAIRS.values():
        pair.close()
    _PAIRS.clear()
