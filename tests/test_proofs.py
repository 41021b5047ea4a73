"""Proofs that take minutes: `make proofs` runs them, and so does the CI."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import faults
from bnsuite.judge.memory import judge
from bnsuite.judge.verdict import Verdict
from bnsuite.record.lines import MemoryLine
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Memory
from conftest import make_run, result, timing

pytestmark = pytest.mark.slow

RUNS = 50
LAUNCHES = 3
#: One activation of this shape is 2 MiB.
PROGRAM = """
import json
from bnsuite.cases.op import LayerCase
from bnsuite.measure import devices
case = LayerCase(layer="batch_norm2d", phase="fwd+bwd", layout="nchw", shape=(16, 32, 32, 32))
print(json.dumps([devices.get("cpu").memory(case.build("cpu"))["allocated_peak_bytes"] for _ in range(%d)]))
"""


def peaks(implementation: str | None) -> list[int]:
    """What a step holds at its peak, as the launches of a run in a fresh process tell it."""
    environment = {**os.environ, "BNSUITE_IMPL": f"{faults.__file__}:{implementation}" if implementation else ""}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % LAUNCHES], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def verdict(seen: list[int], accepted: int) -> Verdict:
    timings = tuple(timing(1e-3).model_copy(update={"memory": Memory(allocated_peak_bytes=peak)}) for peak in seen)
    line = MemoryLine(schema=1, id="memory/x", version=1, profiles=("quick",), torch="", allocated_peak_bytes=accepted)
    run = make_run(result("memory/x", timings=timings))
    (one,) = judge(run, Reference(name="baselines/", lines={"memory": {"memory/x": line}}))
    return one.verdict


def test_one_activation_more_is_caught_and_nothing_else() -> None:
    """50 runs in fresh processes: torch's own layer passes every time, and 2 MiB kept are REGRESSED in each of ten."""
    accepted = peaks(None)[0]
    own = [verdict(peaks(None), accepted) for _ in range(RUNS)]
    kept = [verdict(peaks("KeepsCopy"), accepted) for _ in range(RUNS // 5)]
    print(f"\n{own.count(Verdict.PASS)} of {RUNS} PASS, {kept.count(Verdict.REGRESSED)} of {len(kept)} REGRESSED")
    assert set(own) == {Verdict.PASS}
    assert set(kept) == {Verdict.REGRESSED}
