"""The comparison of times with Triton's: what counts as an agreement. The times themselves need a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gpu_agreement
from gpu_agreement import Agreement


@pytest.mark.parametrize(
    ("ours_s", "held", "verdict"),
    [
        (1.015e-3, True, "agrees, goal met"),
        (0.96e-3, True, "agrees"),
        (1.06e-3, True, "differs"),
        (0.94e-3, True, "differs"),
        (1e-3, False, "differs"),
        (0.99e-4, True, "too short"),
    ],
)
def test_times_agree_within_the_limit(ours_s: float, held: bool, verdict: str) -> None:
    """Beside 1 ms of theirs; a round that was not held is another protocol, and a short step is not judged."""
    theirs_s = 1e-3 if ours_s > 1e-4 else 0.5e-4
    one = Agreement("op/a", "hot", ours_s, theirs_s, 20e-6, held)
    assert one.verdict == verdict
    assert one.line().endswith(f": {verdict}")
    assert one.json()["judged"] == (verdict != "too short")


def test_what_was_compared_is_written_after_each_case(tmp_path: Path) -> None:
    """So that nothing is lost when a machine is taken away."""
    one = Agreement("op/a", "cold", 1e-3, 1e-3, 20e-6, True)
    for count in (1, 2):
        gpu_agreement._write([one] * count, tmp_path / "new")
        written = json.loads((tmp_path / "new" / "agreement.json").read_text())
        assert [case["verdict"] for case in written["cases"]] == ["agrees, goal met"] * count
    gpu_agreement._write([one], None)


@pytest.mark.parametrize(("device", "said"), [("cpu", "no other clock to agree with"), ("gpu", "no such device")])
def test_without_a_gpu_it_is_one_line(device: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And status 2."""
    assert gpu_agreement.main(["--device", device]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
