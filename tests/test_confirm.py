"""`--confirm`: a slowdown against the stored baseline is settled by lockstep, by a stand-in and by the real command."""

from __future__ import annotations

import json
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

from bnsuite.cli.command import main
from bnsuite.experiments import confirm
from bnsuite.experiments.ab import ComparisonRequest, ComparisonResult
from bnsuite.experiments.confirm import ConfirmRequest
from bnsuite.experiments.events import Event, Remark
from bnsuite.judge.gates import judge
from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record import store
from bnsuite.record.errors import InputError
from bnsuite.record.folder import ResultsFolder
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.key import machine_key
from bnsuite.record.reference import Reference, from_run
from bnsuite.record.schema import Run
from bnsuite.report.reasons import words
from conftest import Command, make_run, result, timing
from test_package_index import index, wheel

__all__ = ["index"]

USUAL, SLOW = 1e-3, 1.5e-3


def measured(*medians: float, cases: tuple[str, ...] = ("op/a", "op/b")) -> Run:
    return make_run(
        *(result(name, timings=(timing(one),) * 3) for name, one in zip(cases, medians, strict=True)),
    )


def held_against(run: Run) -> Reference:
    return from_run(measured(USUAL, USUAL), "yesterday", machine_key(run))


class Again:
    """A lockstep's stand-in that finds this of ``op/a``, and remembers what it was asked for."""

    def __init__(self, shown: Verdict | BaseException, ended_by: str | None = None) -> None:
        self._shown, self._ended_by = shown, ended_by
        self.options: list[ComparisonRequest] = []

    def __call__(self, wanted: ComparisonRequest) -> ComparisonResult:
        self.options.append(wanted)
        if isinstance(self._shown, BaseException):
            raise self._shown
        again = Finding(
            case="op/a",
            gate="timing",
            verdict=self._shown,
            reason=because("takes +4.0%"),
            change=0.04,
            low=0.03,
            high=0.05,
        )
        run = make_run().model_copy(update={"ended_by": self._ended_by, "finished": self._ended_by is None})
        times = InterleavedTimes(
            schema=2, a=wanted.a, b=wanted.b, seed=0, most_launches=18, budget_s=None, variables={}, cases=()
        )
        return ComparisonResult(run, run, times, (again,), False, wanted.folder)


def request(run: Run, reference: Reference, environment: str = confirm.BASELINE) -> ConfirmRequest:
    findings, folder = tuple(judge(run, reference)), ResultsFolder(Path("out"))
    return ConfirmRequest(run, reference, findings, environment, folder, None, Path("baselines"))


def settled(
    run: Run, again: Again, environment: str = confirm.BASELINE, told: list[Event] | None = None
) -> list[Finding]:
    notify = [] if told is None else told
    return list(confirm.settle(request(run, held_against(run), environment), again, notify.append))


@pytest.mark.parametrize("verdict", [Verdict.REGRESSED, Verdict.PASS, Verdict.IMPROVED, Verdict.INCONCLUSIVE])
def test_the_comparison_has_the_last_word(verdict: Verdict) -> None:
    """Its verdict and its numbers; both are told in words, and the advice to confirm is gone."""
    told: list[Event] = []
    a, b = settled(measured(SLOW, USUAL), Again(verdict), told=told)
    assert (a.verdict, a.change, a.low, a.high) == (verdict, 0.04, 0.03, 0.05)
    assert words(a).startswith("interleaved with torch==2.14.1: takes +4.0%; against yesterday it is slower by 50 %")
    assert "confirm" not in words(a)
    assert a.evidence["stored_change"] == pytest.approx(0.5)
    assert b.verdict is Verdict.PASS
    (remark,) = told
    assert isinstance(remark, Remark)
    assert remark.text.endswith("were measured again, interleaved with torch==2.14.1: out/confirm/")


def test_only_what_is_flagged_is_measured_again() -> None:
    """As the run was asked for, on its device, against the baseline's release of torch."""
    again = Again(Verdict.PASS)
    settled(measured(SLOW, USUAL), again)
    (wanted,) = again.options
    assert (wanted.a, wanted.b, wanted.folder.path) == ("torch==2.14.1", ".", Path("out/confirm"))
    assert {(one.select, one.device, one.profile) for one in wanted.options} == {("op/a", "cpu", "quick")}


def test_another_environment_may_be_named() -> None:
    again = Again(Verdict.PASS)
    settled(measured(SLOW, USUAL), again, "docker:yesterday")
    assert again.options[0].a == "docker:yesterday"


def test_an_implementation_is_held_against_torchs_own() -> None:
    """In the same interpreter."""
    run = measured(SLOW, USUAL)
    run = run.model_copy(update={"options": run.options.model_copy(update={"implementation": "mine:layer"})})
    again = Again(Verdict.PASS)
    settled(run, again)
    (wanted,) = again.options
    assert (wanted.a, wanted.b) == (".", ".")
    assert [one.implementation for one in wanted.options] == [None, "mine:layer"]


def test_what_a_loud_host_leaves_open_is_settled() -> None:
    """Slower, but by less than twice what the controls strayed: INCONCLUSIVE, until the lockstep decides."""
    loud = make_run(*(result(name, timings=(timing(1.9e-3, 1.4e-4),) * 3) for name in ("op/a", "op/b")))
    stored = [one for one in judge(loud, held_against(loud)) if one.gate == "timing"]
    assert [one.verdict for one in stored] == [Verdict.INCONCLUSIVE] * 2
    again = Again(Verdict.PASS)
    found = {one.case: one for one in settled(loud, again) if one.gate == "timing"}
    assert found["op/a"].verdict is Verdict.PASS
    assert "against yesterday it is slower by 36 %" in words(found["op/a"])
    assert found["op/b"].verdict is Verdict.INCONCLUSIVE
    assert words(found["op/b"]).endswith("not confirmed: the case was not measured")


def test_nothing_flagged_costs_nothing() -> None:
    again = Again(Verdict.REGRESSED)
    assert {one.verdict for one in settled(measured(USUAL, USUAL), again)} == {Verdict.PASS}
    assert again.options == []


@pytest.mark.parametrize(
    ("again", "why"),
    [
        (Again(InputError("torch==2.14.1: no such release")), "not confirmed: torch==2.14.1: no such release"),
        (Again(KeyboardInterrupt()), "not confirmed: interrupted"),
        (Again(RuntimeError("first\nsecond")), "not confirmed: RuntimeError: first"),
        (Again(Verdict.PASS, "interrupted"), "not confirmed: interrupted"),
        (Again(Verdict.FAILED), "not confirmed: FAILED: takes +4.0%"),
        (Again(Verdict.INVALID), "not confirmed: INVALID: takes +4.0%"),
    ],
)
def test_a_regression_is_not_hidden_by_what_fails_later(again: Again, why: str) -> None:
    a, _ = settled(measured(SLOW, USUAL), again)
    assert a.verdict is Verdict.REGRESSED
    assert words(a).startswith("against yesterday it is slower by 50 %, where the baseline allows 10 %")
    assert words(a).endswith(why)


def test_a_baseline_that_does_not_say_its_torch_is_told() -> None:
    run = measured(SLOW, USUAL)
    old = measured(USUAL, USUAL)
    old = old.model_copy(update={"environment": old.environment.model_copy(update={"packages": {}})})
    reference = from_run(old, "yesterday", machine_key(run))
    a, _ = confirm.settle(request(run, reference), Again(Verdict.PASS), [].append)
    assert "yesterday does not say which one torch it was measured with; name it: --confirm torch==X.Y.Z" in words(a)


def test_without_it_the_summary_says_how() -> None:
    run = measured(SLOW, USUAL)
    a, _ = judge(run, held_against(run))
    assert words(a).endswith("; --confirm decides it, or `bnsuite ab torch==2.14.1 . -k 'op/a'`")
    run = run.model_copy(update={"options": run.options.model_copy(update={"implementation": "mine:layer"})})
    a, _ = judge(run, held_against(run))
    assert words(a).endswith("`bnsuite ab . . --impl-b mine:layer -k 'op/a'`")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ("conda:base", "--confirm 'conda:base' is no environment; write . (this interpreter), python:PATH, torch=="),
        ("python:/nowhere/python", "--confirm python:/nowhere/python: there is no /nowhere/python; name an interp"),
        ("torch==1.13.1", "--confirm torch==1.13.1: what is judged must be torch 2.4 or newer"),
    ],
)
@pytest.mark.parametrize("verb", [["run"], ["check"]])
def test_what_is_no_environment_is_told_at_once(
    verb: list[str], environment: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is measured."""
    assert main([*verb, "--confirm", environment]) == 2
    assert capsys.readouterr().err.startswith(f"bnsuite: {said}")


def test_a_run_of_another_machine_is_not_confirmed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` measures in this interpreter: it must be what the run has measured."""
    monkeypatch.chdir(tmp_path)
    for name, run in (("old", measured(USUAL, USUAL)), ("new", measured(SLOW, USUAL))):
        (tmp_path / name).mkdir()
        store.save(run, tmp_path / name)
    assert main(["check", "new", "--against", "old", "--confirm"]) == 1
    out, err = capsys.readouterr()
    assert "not confirmed: this is not where the run was measured (" in out
    assert "; confirm it there" in err
    assert not (tmp_path / "new" / "confirm").exists()
    assert json.loads((tmp_path / "new" / "findings.json").read_text())["status"] == 1


@pytest.mark.slow
def test_a_slowdown_is_settled_by_the_real_command(index: Path, bnsuite: Command, tmp_path: Path) -> None:
    """A fifty times longer step stays REGRESSED, by real workers of which the trusted ones do not share it.

    The trusted release is the tests' own torch by another path, with its own amount of work. On a machine that is not
    left alone the lockstep is INVALID, and settles nothing; a run in which nothing is flagged has no lockstep.
    """
    version = metadata.version("torch").partition("+")[0]
    paths = f"{sysconfig.get_path('purelib')}\n{tmp_path / 'path'}\n"  # of a release the user's own is no part
    wheel(index, version, {"own.pth": f"import os; os.environ['SPIN'] = '20000'\n{paths}"})
    bnsuite("--device", "cpu", "-k", "faulty/fine", "--out", "o", "--confirm")
    assert not (tmp_path / "o" / "confirm").exists()
    here = store.load(tmp_path / "o")
    for name, median_s in (("old", USUAL), ("new", SLOW)):
        cases = (result("faulty/spins", timings=(timing(median_s),) * 3),)
        (tmp_path / name).mkdir()
        store.save(here.model_copy(update={"cases": cases, "finished": True}), tmp_path / name)
    done = bnsuite("check", "new", "--against", "old", "--confirm", f"torch=={version}", SPIN="1000000")
    assert done.status == 1, done.err
    (found,) = json.loads((tmp_path / "new" / "findings.json").read_text())["findings"]
    assert found["verdict"] == "REGRESSED"
    assert (tmp_path / "new" / "confirm" / "interleaved.json").exists()
    if "not confirmed: INVALID: " not in found["summary"]:
        assert found["summary"].startswith(f"interleaved with torch=={version}: takes +")
        assert "; against old it is slower by 50 %" in found["summary"]
        assert found["change"] > 1
    assert found["summary"] in (tmp_path / "new" / "report.md").read_text()
