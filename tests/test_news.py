"""The news: what is not PASS, grouped, with the command that settles it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from bnsuite.cli.command import VERB_GROUP
from bnsuite.judge.reason import ReasonCode, reason
from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, Verdict
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.schema import Run
from bnsuite.report import commands, news
from bnsuite.report.judged import ComparisonReport, RunReport
from conftest import make_run, result

IDS = tuple(f"op/{name}" for name in "abcdef")
RUN: Run = make_run(*map(result, IDS), result("train/w/bn/x"))
TIMES = InterleavedTimes(
    schema=2, a="torch==2.13.0", b=".", seed=0, most_launches=18, budget_s=None, variables={}, cases=()
)


def report(*findings: Finding, run: Run = RUN, folder: Path | None = Path("results/x")) -> RunReport:
    """A judged run."""
    judgement = Judgement(
        schema=Judgement.SCHEMA, reference="baselines/", status=ExitStatus.FINE, findings=tuple(findings)
    )
    return RunReport(run, judgement, folder=folder)


def finding(case: str, verdict: Verdict, code: ReasonCode | None = None, gate: str = "timing", **data: Any) -> Finding:
    """A finding with a reason."""
    why = because("so") if code is None else reason(code, **data)
    return Finding(case=case, gate=gate, verdict=verdict, reason=why)


def parsed(command: str) -> str:
    """The verb that the real parser reads from a command; it raises for an option that is none."""
    words = shlex.split(command)
    assert words[0] == "bnsuite"
    with VERB_GROUP.make_context("bnsuite", words[1:]) as context:
        name, verb, rest = VERB_GROUP.resolve_command(context, [*context._protected_args, *context.args])
        assert verb is not None
        verb.make_context(name, rest, parent=context)
    return str(name)


def test_pass_is_no_news_and_the_worst_comes_first() -> None:
    """In the order of the verdicts."""
    found = news.items(
        report(finding("op/a", Verdict.SKIPPED), finding("op/b", Verdict.PASS), finding("op/c", Verdict.REGRESSED))
    )
    assert [(one.verdict, one.who) for one in found] == [(Verdict.REGRESSED, "op/c"), (Verdict.SKIPPED, "op/a")]


def test_equal_reasons_are_one_item() -> None:
    """Also where only numbers differ, as the launches in which something else had the core."""
    disturbed = [
        finding(case, Verdict.INVALID, ReasonCode.DISTURBED, kind="core", by=[], launches=n, of=6)
        for n, case in enumerate(IDS, start=1)
    ]
    (item,) = news.items(report(*disturbed))
    assert item.who == "6 cases"
    assert [place.case for place in item.places] == list(IDS)
    assert "in 1 to 6 of 6 launches" in item.reason


def test_a_damaged_reason_breaks_no_item() -> None:
    """A file may lack a number of it; the item is shown all the same."""
    damaged = [
        finding(case, Verdict.INVALID, ReasonCode.DISTURBED, kind="core", by=[], of=n) for n, case in enumerate(IDS)
    ]
    (item,) = news.items(report(*damaged))
    assert item.who == "6 cases"


def test_a_slower_layer_is_settled_with_what_it_supports() -> None:
    """The comparison skips the same cases as the run."""
    options = RUN.options.model_copy(update={"implementation": "k:L", "supports": {"dims": ("2",)}})
    advice = {"case": "op/a", "environment": ".", "implementation": "k:L"}
    slower = finding("op/a", Verdict.REGRESSED, ReasonCode.SLOWER, confirm=advice)
    command = commands.settle(report(run=RUN.model_copy(update={"options": options})), slower, ["op/a"])
    assert command is not None
    assert "--impl-b k:L --supports-b dims=2" in command
    assert parsed(command) == "ab"


def test_each_case_keeps_its_own_number() -> None:
    """Where several cases have one reason, and where the reason does not say it."""
    some = [
        Finding(
            case=case,
            gate="convergence",
            verdict=Verdict.INCONCLUSIVE,
            reason=reason(ReasonCode.METRICS_UNDECIDED, metrics={}, seeds=3, open=[case]),
            change=0.07,
            low=-0.1,
            high=0.2,
            evidence={"metric": "early loss"},
        )
        for case in IDS[:2]
    ]
    (item,) = news.items(report(*some))
    assert [place.number for place in item.places] == ["early loss +7.0 % (-10.0 % to +20.0 %)"] * 2


def test_a_new_machine_is_one_sentence_with_one_command() -> None:
    """Times that have no baseline here yet, what was judged all the same, and the command that accepts the run."""
    new = [
        finding(
            case,
            Verdict.NO_BASELINE,
            ReasonCode.NO_REFERENCE,
            reference="baselines/",
            cause="no-timing-of-machine",
            details=["cpu X, not Y"],
            acceptable=True,
        )
        for case in IDS
    ]
    judged = report(*new, finding("op/a", Verdict.PASS, gate="memory"))
    (item,) = news.items(judged)
    assert item.is_new_machine
    assert item.command == "bnsuite accept results/x --only timing"
    said = news.new_machine(judged, item)
    assert said == (
        "no times were accepted on this machine yet (the nearest machine with one has cpu X, not Y): 6 cases; "
        "memory was judged all the same"
    )


@pytest.mark.parametrize(
    ("found", "verb"),
    [
        (finding("op/a", Verdict.FAILED), "run"),
        (finding("op/a", Verdict.INCONCLUSIVE), "run"),
        (finding("op/a", Verdict.INVALID), "run"),
        (finding("op/a", Verdict.IMPROVED), "accept"),
        (
            finding(
                "op/a",
                Verdict.REGRESSED,
                ReasonCode.SLOWER,
                confirm={"case": "op/a", "environment": "torch==2.13.0", "implementation": None},
            ),
            "ab",
        ),
    ],
)
def test_a_command_is_one_that_the_parser_takes(found: Finding, verb: str, tmp_path: Path) -> None:
    """It names the case, and repeats how it was measured."""
    options = RUN.options.model_copy(update={"threads": 2, "profile": "full", "cases": ()})
    judged = report(found, run=RUN.model_copy(update={"options": options}), folder=tmp_path)
    command = commands.settle(judged, found, ["op/a"])
    assert command is not None
    assert parsed(command) == verb
    if verb != "accept":
        assert "-k op/a" in command
        assert "--threads 2" in command
        assert "--profile full" in command


def test_many_cases_are_named_by_what_they_have_in_common() -> None:
    """Up to three by name; more by the beginning of their ids; else by what was selected."""
    judged = report()
    assert commands.measure(judged, IDS[:2]).endswith("-k 'op/a or op/b'")
    assert commands.measure(judged, IDS).endswith("-k '^op/'")
    deep = [f"op/{layer}/{'x' * 30}/{phase}/f32" for layer in ("a", "b") for phase in ("fwd", "bwd")]
    assert commands.measure(judged, deep[:3]).endswith("-k '^op/'")
    assert commands.measure(judged, deep[:2]).endswith(f"-k '{deep[1]} or {deep[0]}'")
    assert commands.measure(judged, [*IDS, "train/w/bn/x"]) == "bnsuite --device cpu --timeout 60"


def test_what_a_layer_supports_is_said_again() -> None:
    """The command that measures it again skips the same cases."""
    options = RUN.options.model_copy(
        update={"implementation": "k:L", "supports": {"dims": ("1", "2"), "dtypes": ("float32",)}}
    )
    command = commands.measure(report(run=RUN.model_copy(update={"options": options})), ["op/a"])
    assert command == "bnsuite --device cpu --timeout 60 --impl k:L --supports 'dims=1,2;dtypes=float32' -k op/a"
    assert parsed(command) == "run"


def test_a_comparison_is_repeated_as_it_was_made() -> None:
    """With both environments, and the layer that stood in B."""
    options = RUN.options.model_copy(update={"implementation": "my kernel.py:Layer"})
    b = RUN.model_copy(update={"options": options})
    judged = ComparisonReport(RUN, b, TIMES, report().judgement)
    command = commands.measure(judged, ["op/a"])
    assert (
        command == "bnsuite ab torch==2.13.0 . --device cpu --timeout 60 --impl-b 'my kernel.py:Layer' --seed 0 -k op/a"
    )
    assert parsed(command) == "ab"
    assert commands.settle(judged, finding("op/a", Verdict.SKIPPED), ["op/a"]) is None
