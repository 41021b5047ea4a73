"""Calls that may crash are made in forks: each in one on a CPU, as many as it survives where a device must start."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, torch
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
print_outcomes(tries, "cpu", together=sys.argv[1] == "together")
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


@pytest.mark.parametrize(("how", "forks"), [("apart", [1] * 7), ("together", [3, 2, 2])])
def test_each_try_has_its_outcome(how: str, forks: list[int]) -> None:
    """Whatever came before it; a fork ends at a crash, and at an error that the device would keep."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    lines = [line.split(" ", 1) for line in done.stdout.splitlines() if line]
    assert dict(line for line in lines if line[0] != "pid") == OUTCOMES
    processes = [number for word, number in lines if word == "pid"]
    assert [processes.count(one) for one in dict.fromkeys(processes)] == forks
