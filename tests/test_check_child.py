"""Checks in a process of their own: whatever ends it is an observation, and nothing of it reaches the worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bnsuite.cases import CheckCase, catalogue
from bnsuite.cases.checks.numerics import large_tensor
from bnsuite.judge.checks import judge_behaviour
from bnsuite.judge.verdict import Verdict
from bnsuite.measure import check
from bnsuite.record.pins import Pin
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Observation
from conftest import make_run, result

CHECKS = Path(__file__).parent / "dying_checks.py"


@pytest.fixture(autouse=True)
def _dying_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNSUITE_CASES", str(CHECKS))


def outcome(name: str) -> check.Outcome:
    """The outcome of one of these checks, in its real process."""
    case = catalogue.case(f"behaviour/dying/{name}")
    assert isinstance(case, CheckCase)
    return check.run(case, "cpu")


def test_a_check_that_ends_well_says_so_beside_what_it_saw() -> None:
    """It ran in another process, whose prints are no answers."""
    (how, pid), skipped = outcome("fine")
    assert (how.what, how.value, how.expected, skipped) == ("outcome", "returned", "returned", None)
    assert int(pid.value) != os.getpid()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("is_killed", "died: SIGKILL"),
        ("reads_nowhere", "died: SIGSEGV"),
        ("leaves", "died: status 7"),
        ("hangs", "timed out"),
        ("loses_its_gpu", "died: illegal memory access"),
        ("asserts", "died: device-side assert"),
        ("raises", "raised: ValueError"),
    ],
)
def test_the_end_of_a_process_is_a_word(name: str, word: str) -> None:
    """The same in every run: really killed, crashed, left, hung, and raised."""
    seen, skipped = outcome(name)
    assert [(one.what, one.value, one.expected) for one in seen] == [("outcome", word, "returned")]
    assert skipped is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("finds_no_memory", "the GPU has too little free memory: CUDA out of memory"),
        ("is_refused", "a second process can't use the GPU"),
        ("has_nothing", "there is nothing of it here"),
    ],
)
def test_a_check_that_saw_nothing_is_skipped(name: str, why: str) -> None:
    """With the reason: a GPU that is full or in exclusive use says nothing of the layer."""
    seen, skipped = outcome(name)
    assert seen == []
    assert skipped is not None
    assert skipped.startswith(why)


def test_a_known_end_can_be_pinned() -> None:
    """A crash that is known passes with its reason, and is a regression without; another crash stays one."""
    name = "behaviour/dying/x"

    def verdict(word: str, *pins: Pin) -> Verdict:
        seen = Observation(what="outcome", value=word, expected="returned")
        run = make_run(result(name, observations=(seen,)))
        return judge_behaviour(run, Reference(name="", pins=pins))[0].verdict

    pin = Pin(case=name, what="outcome", device="cpu", torch="", value="died: SIGSEGV", reason="it is known to")
    assert verdict("died: SIGSEGV") is Verdict.REGRESSED
    assert verdict("died: SIGSEGV", pin) is Verdict.PASS
    assert verdict("timed out", pin) is Verdict.REGRESSED


def test_huge_tensors_have_processes_of_their_own_and_time_to_end() -> None:
    """Every one; the worker gives up later than the process does."""
    for case in large_tensor.cases():
        assert case.child_s is not None
        assert 60 <= case.child_s <= 120
        assert case.limit_s > case.child_s + check.check_child.KILLED_S


@pytest.mark.parametrize("training", [True, False])
def test_huge_tensors_are_computed_without_cudnn_anyway(training: bool) -> None:
    """By torch's own choice, so that there is no second check with cuDNN off; a smaller tensor is cuDNN's."""

    def backend(*shape: int) -> str:
        with FakeTensorMode():
            x = torch.empty(shape, device="cuda", dtype=torch.float16)
            one = torch.empty(shape[1], device="cuda")
            return str(torch._C._select_batch_norm_backend(x, one, one, one, one, training, 1e-5).name)

    assert {backend(*shape) for shape in large_tensor.HUGE.values()} == {"Native"}
    assert backend(64, 16, 128, 128) == "Cudnn"
