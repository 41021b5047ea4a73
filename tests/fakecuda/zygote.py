"""A process that rehearses, has imported what takes long, and forks a child for each script that it is told to run.

Started as ``python -m fakecuda.zygote`` with the variables of `fakecuda.variables`. It reads one JSON line a script, of
its variables and its source, and writes one JSON line with what the expression in the script's last line amounts to. A
child has touched no GPU before its script does.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import IO, Any

import torch

import bnsuite.cases
import bnsuite.measure.worker  # noqa: F401  # every child needs it
import fakecuda
from fakecuda import coverage, runtime


def _run(source: str) -> dict[str, Any]:
    *lines, last = source.strip().splitlines()
    names = {"torch": torch}
    try:
        exec("\n".join(lines), names)  # noqa: S102  # a script of the tests
        return {"done": eval(last, names)}  # noqa: S307
    except Exception as error:  # noqa: BLE001  # whatever it is: the test shows it
        return {"failed": repr(error)}


def _answer(variables: dict[str, str], source: str, answers: IO[str]) -> None:
    """Runs a script in a child of this process, which answers and is gone."""
    child = os.fork()
    if child == 0:
        os.environ.update(variables)
        runtime.State.gpus = int(os.environ[fakecuda.VARIABLE])
        answers.write(f"{json.dumps(_run(source), default=str)}\n")
        answers.flush()
        sys.stderr.flush()
        coverage.write()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status != 0:
        answers.write(f"{json.dumps({'failed': f'the child died: {os.waitstatus_to_exitcode(status)}'})}\n")
        answers.flush()


def main() -> None:
    """Answers scripts until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is printed is no answer
    gc.freeze()  # what was imported stays: looking through it takes 0.1 s, and measuring memory does so often
    while line := sys.stdin.readline():
        variables, source = json.loads(line)
        _answer(variables, source, answers)


if __name__ == "__main__":
    main()
