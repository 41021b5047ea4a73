"""What a person reads: the table, its reasons, the last line, and the progress."""

from __future__ import annotations

import io
import os
import pty
from functools import partial

import pytest

from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import ExitStatus, Finding, Verdict
from bnsuite.launch.progress import Progress
from bnsuite.record.gpu import Gpu, GpuFacts
from bnsuite.report import comparison, progress, table
from bnsuite.report.screen import Screen
from bnsuite.report.summary import last_line
from conftest import curve, make_run, result, timing

RUN = make_run(
    result("op/a", timings=(timing(1e-3), timing(1e-3))),
    result("train/w/bn/x", timings=(timing(4e-2),), curves=(curve(0),)),
)
FINDINGS = [
    Finding(case="op/a", gate="timing", verdict=Verdict.REGRESSED, reason=because("slower by 25%"), change=0.25),
    Finding(case="train/w/bn/x", gate="timing", verdict=Verdict.NO_BASELINE, reason=because("not in baselines/")),
    Finding(case="train/w/bn/x", gate="convergence", verdict=Verdict.PASS, reason=because("equal")),
    Finding(case="op/gone", gate="timing", verdict=Verdict.MISSING, reason=because("in baselines/, but gone")),
]


def test_the_table_reads_at_a_glance() -> None:
    """What was measured of a case and what is said of it; one that vanished from the baseline has its row."""
    lines = table.rows(RUN, FINDINGS, Screen()).splitlines()
    assert lines[0].split("  ")[0] == "case"
    rows = {line.split()[0]: line for line in lines if line.startswith(("op/", "train/"))}
    assert rows["op/a"].split() == [
        "op/a",
        "1.00",
        "ms",
        "±",
        "2.5",
        "%",
        "10",
        "%",
        "+25.0",
        "%",
        "1.00",
        "MiB",
        "REGRESSED",
    ]
    assert "loss identical" in rows["train/w/bn/x"]
    assert rows["op/gone"].split() == ["op/gone", "–", "–", "–", "–", "–", "MISSING"]


@pytest.mark.parametrize(
    ("verdict", "change", "evidence", "shown"),
    [
        (Verdict.PASS, None, {}, "loss identical"),
        (Verdict.REGRESSED, None, {}, "–"),  # it never learns: the reason says so
        (Verdict.REGRESSED, 0.047, {"metric": "epochs to target"}, "epochs to target +4.7 %"),
        (Verdict.IMPROVED, -0.2, {"metric": "early loss"}, "early loss -20.0 %"),
    ],
)
def test_how_a_training_learnt_is_named(
    verdict: Verdict, change: float | None, evidence: dict[str, float | int | str | None], shown: str
) -> None:
    """By the number that moved, in the table of a run as in that of a comparison."""
    finding = Finding(
        case="train/w/bn/x", gate="convergence", verdict=verdict, reason=because(""), change=change, evidence=evidence
    )
    alone = table.rows(RUN, [finding], Screen())
    beside = comparison.rows(RUN, RUN, [finding], Screen())
    for text in (alone, beside):
        (row,) = (line for line in text.splitlines() if line.startswith("train/w/bn/x"))
        assert f"  {shown}  " in row


def test_the_last_line_says_it_all() -> None:
    text = last_line(RUN, FINDINGS, ExitStatus.REGRESSED)
    assert text == "REGRESSED: 1 REGRESSED, 1 MISSING, 1 NO_BASELINE, 1 PASS in 2 cases, 42 s (exit status 1)"
    ended = last_line(make_run(finished=False), [], ExitStatus.NOT_MEASURED)
    assert ended == "not measured as asked (interrupted): nothing measured in 0 cases, 42 s (exit status 3)"


def test_the_last_line_says_what_was_decided() -> None:
    """Nothing is called right of which no gate has decided anything."""

    def head(**verdicts: Verdict) -> str:
        some = [Finding(case="op/a", gate=gate, verdict=one, reason=because("")) for gate, one in verdicts.items()]
        return last_line(RUN, some, ExitStatus.FINE).partition(": ")[0]

    assert head(timing=Verdict.PASS, memory=Verdict.IMPROVED) == "nothing wrong"
    assert head(timing=Verdict.NO_BASELINE, memory=Verdict.PASS) == "nothing wrong in memory; timing not decided"
    assert head(timing=Verdict.INCONCLUSIVE, memory=Verdict.SKIPPED) == "nothing compared"


STEPS = [Progress("training", "train/w", n, 4) for n in (1, 2)] + [
    Progress("timing, launch 1", "op/a", n, 4) for n in (3, 4)
]


def test_a_log_gets_a_line_a_stage() -> None:
    stream = io.StringIO()
    shown, listen = progress.listener(stream)
    with shown:
        for step in STEPS:
            listen(step)
    assert [line.split(" (")[0] for line in stream.getvalue().splitlines()] == [
        "training",
        "timing, launch 1",
    ]


def read_terminal(leader: int) -> bytes:
    """What a terminal shows next; nothing when whoever wrote to it has closed it, which Linux calls an error."""
    try:
        return os.read(leader, 1 << 16)
    except OSError:
        return b""


def test_a_terminal_gets_a_bar() -> None:
    """A count, the time left and what came last, on one line that is gone at the end."""
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        shown, listen = progress.listener(stream)
        with shown:
            for step in STEPS:
                listen(step)
    seen = "".join(chunk.decode() for chunk in iter(partial(read_terminal, leader), b""))
    os.close(leader)
    assert "4/4" in seen
    assert "timing, launch 1: op/a" in seen


def test_checks_are_a_row_a_family() -> None:
    """Hundreds of checks are a handful of rows: how many, how many with a pinned deviation, and the worst verdict."""
    findings = [
        Finding(
            case=f"numerics/reference/{n}",
            gate="numerics",
            verdict=verdict,
            reason=because("s"),
            evidence={"pinned": int(n == 1)},
        )
        for n, verdict in enumerate([Verdict.PASS, Verdict.PASS, Verdict.REGRESSED])
    ]
    findings.append(
        Finding(case="numerics/reference/gone", gate="numerics", verdict=Verdict.MISSING, reason=because("not there"))
    )
    run = make_run(*(result(f"numerics/reference/{n}") for n in range(3)))
    lines = table.rows(run, findings, Screen()).splitlines()
    row, gone = (line for line in lines if line.startswith("numerics"))
    assert gone.split("  ")[0] == "numerics, not in this run"
    assert row.split("  ")[0] == "numerics/reference"
    assert "3 checks, 1 with a pinned deviation" in row
    assert row.endswith("REGRESSED")


def test_two_gpus_differ_in_what_differs() -> None:
    """One line has room for the one fact, and none for all of them."""
    facts = dict.fromkeys(GpuFacts.model_fields) | {"uuid": "GPU-1", "mig_slice": False}
    gpus = [
        Gpu(
            name="G",
            count=1,
            capability="9.0",
            memory_total_bytes=1 << 30,
            driver=None,
            nvml=GpuFacts(**{**facts, "power_limit_w": limit}),
        )
        for limit in (700.0, 500.0)
    ]
    a, b = (RUN.environment.model_copy(update={"gpu": gpu}) for gpu in gpus)
    assert list(comparison.differences(a, b)) == ["power_limit_w 700.0 → 500.0"]
