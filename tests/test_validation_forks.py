"""Calls that may crash are made in forks: each in one on a CPU, as many as it survives where a device must start."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, torch
from bnsuite.cases.checks.material.forks import print_outcomes

def returns():
    print(f"\\npid {os.getpid()}", flush=True)

def refuses():
    returns()
    raise ValueError("no")

def crashes():
    returns()
    os.kill(os.getpid(), 9)

def faults():
    returns()
    raise RuntimeError("CUDA error: an illegal memory access was encountered")

tries = [("a", returns), ("b", refuses), ("c", crashes), ("d", returns), ("e", faults), ("f", refuses), ("g", crashes)]
for how in ("apart", "together"):
    print(f"= {how}", flush=True)
    print_outcomes(tries, "cpu", together=how == "together")
"""
OUTCOMES = {
    "a": "returned",
    "b": "refused",
    "c": "ended with -9",
    "d": "returned",
    "e": "device-fault",
    "f": "refused",
    "g": "ended with -9",
}


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """What was printed of the tries apart, and of those together; torch is imported once."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    apart, together = done.stdout.removeprefix("= apart\n").split("= together\n")
    return {"apart": apart, "together": together}


@pytest.mark.parametrize(("how", "forks"), [("apart", [1] * 7), ("together", [3, 2, 2])])
def test_each_try_has_its_outcome(printed: dict[str, str], how: str, forks: list[int]) -> None:
    """Whatever came before it; a fork ends at a crash, and at an error that the device would keep."""
    lines = [line.split(" ", 1) for line in printed[how].splitlines() if line]
    assert dict(line for line in lines if line[0] != "pid") == OUTCOMES
    processes = [number for word, number in lines if word == "pid"]
    assert [processes.count(one) for one in dict.fromkeys(processes)] == forks
