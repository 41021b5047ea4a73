"""The command beside a finding: the real parser takes it, and it measures this case in the same way."""

from __future__ import annotations

import shlex
from typing import Any

import click
import pytest

from bnsuite.cli.command import VERB_GROUP
from bnsuite.judge.verdict import Verdict
from bnsuite.record.schema import RunOptions
from bnsuite.report import text
from bnsuite.report.exports import commands
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import RunReport
from conftest import make_run, result, timing
from judged_reports import HOSTILE, compared, every_verdict, finding, hostile, judgement


def parsed(command: str) -> tuple[str, dict[str, Any]]:
    """The verb and its parameters, as the command line parses them."""
    name, *words = shlex.split(command)
    assert name == "bnsuite"
    verb = words.pop(0) if not words[0].startswith("-") else "run"
    parser = VERB_GROUP.get_command(click.Context(VERB_GROUP), verb)
    assert parser is not None
    return verb, parser.make_context(verb, words, resilient_parsing=False).params


def of_run(
    *, gate: str = "timing", verdict: Verdict = Verdict.REGRESSED, **options: object
) -> tuple[str, dict[str, Any]]:
    """The command of a run with these options."""
    run = make_run(result("op/a", timings=(timing(1e-3),)))
    asked = run.options.model_copy(update={"timeout_s": 300.0, **options})
    run = run.model_copy(update={"options": RunOptions.model_validate(asked.model_dump())})
    subject = Subject.of(RunReport(run, judgement([finding("op/a", gate, verdict)])))
    return parsed(commands.command(subject, subject.findings[0]))


def test_a_run_is_measured_again_as_it_was() -> None:
    """With its device and profile; what is the default is not said."""
    command = commands.command(Subject.of(every_verdict()), finding("op/a", "timing", Verdict.PASS))
    assert command == "bnsuite --device cpu --profile quick --timeout 60 -k op/a"
    verb, params = of_run()
    assert (verb, params["device"], params["profile"], params["select"]) == ("run", "cpu", "quick", "op/a")
    assert (params["threads"], params["timeout"]) == (commands.DEFAULT_THREADS, commands.DEFAULT_TIMEOUT_S)


def test_what_was_asked_for_is_asked_for_again() -> None:
    """Threads, time limit, implementation, environment, files of cases."""
    _, params = of_run(threads=2, timeout_s=5.0, implementation="a b.py:f", environment="docker:x")
    assert (params["threads"], params["timeout"]) == (2, 5.0)
    assert (params["impl"], params["environment"]) == ("a b.py:f", "docker:x")


@pytest.mark.parametrize(
    ("gate", "verdict", "profile"),
    [
        ("convergence", Verdict.INCONCLUSIVE, "full"),
        ("convergence", Verdict.REGRESSED, "quick"),
        ("timing", Verdict.INCONCLUSIVE, "quick"),
    ],
)
def test_more_seeds_settle_a_curve(gate: str, verdict: Verdict, profile: str) -> None:
    """Which the full profile has."""
    assert of_run(gate=gate, verdict=verdict)[1]["profile"] == profile


def test_a_slowdown_against_a_baseline_is_confirmed() -> None:
    """By an interleaved comparison."""
    slower = finding("op/a", "timing", Verdict.REGRESSED).model_copy(update={"evidence": {"slower": 1}})
    assert parsed(commands.command(Subject.of(every_verdict()), slower))[1]["confirm"] == "baseline"
    assert "--confirm" not in commands.command(Subject.of(compared()), slower)


def test_a_comparison_is_made_again() -> None:
    """With both environments and the seed."""
    subject = Subject.of(compared())
    verb, params = parsed(commands.command(subject, subject.findings[0]))
    assert (verb, params["a"], params["b"], params["seed"]) == ("ab", "torch==2.14.1", "docker:trainer:new", 7)


def test_hostile_text_is_one_word() -> None:
    """To a shell, which neither starts another command nor reads another line."""
    for report in hostile():
        subject = Subject.of(report)
        command = commands.command(subject, subject.findings[0])
        assert command.isprintable()
        assert text.one_line(HOSTILE) in shlex.split(command)


def test_an_id_that_k_can_not_name_is_not_named() -> None:
    """Parentheses belong to the expression; the command measures everything then."""
    subject = Subject.of(every_verdict())
    assert "-k" not in commands.command(subject, finding("op/a(b)", "timing", Verdict.FAILED))
