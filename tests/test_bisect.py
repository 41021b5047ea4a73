"""Which environment brought a change: the search and the verb, without environments but in the slow tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from bnsuite.cli.bisect import GateName
from bnsuite.cli.command import main
from bnsuite.cli.output import words
from bnsuite.experiments.ab import ComparisonRequest, ComparisonResult
from bnsuite.experiments.bisect import BisectRequest, EndedError, bisect
from bnsuite.experiments.events import Event
from bnsuite.judge import gates
from bnsuite.judge.bisect import Assessment, BisectAnswer, BisectStep, Search, assess, comparable, label
from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import ExitStatus, Finding, Verdict
from bnsuite.launch.environments import EnvironmentUnavailableError
from bnsuite.record.errors import InputError
from bnsuite.record.folder import ResultsFolder
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.package_index import PackageIndex
from bnsuite.record.schema import RunOptions
from bnsuite.report.bisect import sentence
from conftest import make_run, result
from index_server import serving
from test_package_index import index, wheel
from wrong_torch import WRONG

__all__ = ["index"]

RELEASES = tuple(f"2.{minor}.0" for minor in range(4, 15))


def searched(releases: tuple[str, ...], first_bad: int, skipped: frozenset[int]) -> tuple[Search, list[str]]:
    """A search whose answers are these, and what it looked at."""
    search, looked = Search.over(releases), []
    while (release := search.next) is not None:
        looked.append(release)
        place = releases.index(release)
        known = Assessment.BAD if place >= first_bad else Assessment.GOOD
        search = search.after(release, Assessment.SKIPPED if place in skipped else known)
    return search, looked


@pytest.mark.parametrize("count", range(2, 12))
def test_the_first_bad_release_is_found_wherever_it_is(count: int) -> None:
    """In as many comparisons as halving takes, none of them made twice."""
    for first_bad in range(1, count):
        search, looked = searched(RELEASES[:count], first_bad, frozenset())
        assert (search.first_bad, search.last_good, search.between) == (
            RELEASES[first_bad],
            RELEASES[first_bad - 1],
            (),
        )
        assert len(looked) == len(set(looked)) <= (count - 1).bit_length()


@pytest.mark.parametrize("count", range(3, 9))
def test_what_can_not_be_told_is_gone_around(count: int) -> None:
    """Whatever is skipped: what is left open are skipped releases, all of them, and the change lies among them."""
    for first_bad in range(1, count):
        for bits in range(1 << (count - 2)):
            skipped = frozenset(place for place in range(1, count - 1) if bits >> (place - 1) & 1)
            search, looked = searched(RELEASES[:count], first_bad, skipped)
            assert len(looked) == len(set(looked))
            assert search.good < first_bad <= search.bad
            assert {RELEASES.index(one) for one in search.between} <= skipped
            assert not {search.good, search.bad} & skipped


def finding(verdict: Verdict, case: str = "op/a", gate: str = "timing", change: float | None = None) -> Finding:
    bounds = {} if change is None else {"low": change - 0.01, "high": change + 0.01}
    return Finding(
        case=case, gate=gate, verdict=verdict, reason=because(f"the reason of {case}"), change=change, **bounds
    )


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["PASS", "REGRESSED", "FAILED"], Assessment.BAD),
        (["PASS", "IMPROVED"], Assessment.GOOD),
        (["PASS", "INCONCLUSIVE"], Assessment.SKIPPED),
        (["PASS", "FAILED"], Assessment.SKIPPED),
        (["PASS", "INVALID"], Assessment.SKIPPED),
        (["PASS", "SKIPPED"], Assessment.SKIPPED),
        (["PASS"], Assessment.SKIPPED),
        ([], Assessment.SKIPPED),
    ],
)
def test_verdicts_tell_good_from_bad(verdicts: list[str], expected: Assessment) -> None:
    """Of the first two cases: one that is worse is bad, all as they were is good, anything else can't be told."""
    findings = [finding(Verdict(verdict), f"op/{place}") for place, verdict in enumerate(verdicts)]
    wanted = {("op/0", "timing"): None, ("op/1", "timing"): None}
    assert assess(findings, wanted)[0] is expected


@pytest.mark.parametrize(
    ("change", "at_the_end", "expected"),
    [
        (0.001, 0.05, Assessment.GOOD),
        (0.009, 0.013, Assessment.SKIPPED),
        (0.004, 0.013, Assessment.SKIPPED),
        (0.004, 0.016, Assessment.GOOD),
        (-0.02, 0.013, Assessment.GOOD),
    ],
)
def test_a_pass_is_good_only_where_it_excludes_the_change(
    change: float, at_the_end: float, expected: Assessment
) -> None:
    """A PASS says less than 2 %, which may be all that the newest shows."""
    assert assess([finding(Verdict.PASS, change=change)], {("op/a", "timing"): at_the_end})[0] is expected
    lines: list[str] = []
    shown = {"2.5.0": [finding(Verdict.PASS, change=0.009)], "2.6.0": [finding(Verdict.REGRESSED, change=0.013)]}
    answer = bisect(
        BisectRequest(environments("2.4.0", *shown), WANTED, None),
        Releases(shown),
        lambda event: lines.append(words(event)),
    )
    assert (answer.first_bad, answer.between) == ("2.6.0", ("2.5.0",))
    assert lines[-1].endswith("(-0.1 % to +1.9 %), by which it could still have the change that is looked for")


def test_a_gate_that_was_named_is_the_only_one_that_tells() -> None:
    """What is SKIPPED at both ends tells nothing, unless there is nothing else."""
    findings = [
        finding(Verdict.REGRESSED, gate="memory"),
        finding(Verdict.PASS),
        finding(Verdict.SKIPPED, "op/b"),
    ]
    assert comparable(findings, "timing") == {("op/a", "timing")}
    assert assess(findings, dict.fromkeys(comparable(findings, "timing")))[0] is Assessment.GOOD
    assert assess(findings, dict.fromkeys(comparable(findings, None)))[0] is Assessment.BAD
    assert assess(findings[2:], dict.fromkeys(comparable(findings[2:], None)))[0] is Assessment.SKIPPED


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "bisect: no case is named; name one with -k, see `bnsuite list`"),
        (["-k", "no_such_case"], "-k 'no_such_case' matches none of the "),
        (
            ["-k", "ratio/eval-vs-train"],
            "matches ratios only, which compare two steps of one environment; name other",
        ),
        (
            ["-k", "op/batch_norm1d", "--gate", "numerics"],
            "--gate numerics: judges none of the cases that -k 'op/batch",
        ),
        (["-k", "op/batch_norm1d", "--bad", "torch==2.99.0"], "--bad torch==2.99.0: the package index has no such"),
        (
            ["-k", "op/batch_norm1d", "--good", "torch==1.13.1"],
            "torch==1.13.1: what is judged must be torch 2.4 or new",
        ),
        (
            ["-k", "op/batch_norm1d", "--good", "."],
            "--good .: is neither torch==X.Y.Z nor docker:REPOSITORY:TAG; name ",
        ),
        (
            ["-k", "op/batch_norm1d", "--good", "torch==2.9.1"],
            "--good torch==2.9.1: is not older than --bad torch==2.9",
        ),
        (["-k", "op/batch_norm1d", "--gate", "speed"], "--gate: there is no gate 'speed'; choose from"),
        (
            ["-k", "op/batch_norm1d", "--good", "docker:trainer:1"],
            "--good docker:trainer:1 and --bad torch==2.9.1: nothing is between two kinds of environment; name the ",
        ),
        (
            ["-k", "op/batch_norm1d", "--good", "python:/usr/bin/python3"],
            "--good python:/usr/bin/python3: is neither torch==X.Y.Z nor docker:REPOSITORY:TAG; name the environments ",
        ),
        (
            ["-k", "op/batch_norm1d", "--good", "docker:a:1", "--bad", "docker:a:2", "--pre"],
            "--pre: no environment is a release of torch; leave it out, or name torch==X.Y.Z",
        ),
        (
            ["-k", "op/batch_norm1d", "--index-url", "ftp://me:secret@example.org"],
            "--index-url: is no address of a package index; write it like https://HOST/simple; see ",
        ),
        (["-k", "op/batch_norm1d", ".", "torch==2.9.1"], "bisect: names environments and --good or --bad; give either"),
    ],
)
def test_wrong_input_is_one_line(
    index: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    """Status 2, and no folder is left."""
    for version in ("2.8.0", "2.9.1"):
        wheel(index, version, {})
    assert main(["bisect", "--good", "torch==2.8.0", "--bad", "torch==2.9.1", "--device", "cpu", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "bisect: --good is missing; give it with --bad, or name the environments one by one, the oldest first: "),
        (["--good", "torch==2.8.0"], "bisect: --bad is missing; give it with --good, or name the environments one by "),
        (["torch==2.8.0"], "bisect torch==2.8.0: one environment is too few; name the environments one by one, the "),
        ([".", "torch==2.8.0", "."], "bisect: . is named twice; name each environment once, the oldest first"),
        (
            [".", "python:/nowhere", "torch==2.8.0"],
            "python:/nowhere: there is no /nowhere; name an interpreter, or the",
        ),
        ([".", "trainer:2025-01"], "'trainer:2025-01' is no environment; write . (this interpreter), python:PATH, "),
        ([".", "torch==1.13.1", "torch==2.8.0"], "torch==1.13.1: what is judged must be torch 2.4 or newer"),
        (
            [".", f"python:{sys.executable}", "--index-url", "https://h/x"],
            "--index-url: no environment is a release of",
        ),
    ],
)
def test_a_wrong_list_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """Status 2 before anything is measured, and no folder is left."""
    monkeypatch.chdir(tmp_path)
    assert main(["bisect", *arguments, "-k", "op/batch_norm1d", "--device", "cpu"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


class Releases:
    """A comparison's stand-in: what it finds of each release, and what it was asked for."""

    def __init__(self, shown: dict[str, list[Finding] | Exception | str]) -> None:
        self._shown = shown
        self.options: list[ComparisonRequest] = []

    def __call__(self, wanted: ComparisonRequest) -> ComparisonResult:
        self.options.append(wanted)
        shown = self._shown[label(wanted.b)]
        if isinstance(shown, Exception):
            raise shown
        run = make_run(result("op/a"))
        findings = shown
        if isinstance(shown, str):
            run, findings = run.model_copy(update={"finished": False, "ended_by": shown}), [finding(Verdict.FAILED)]
        times = InterleavedTimes(
            schema=2, a=wanted.a, b=wanted.b, seed=0, most_launches=18, budget_s=None, variables={}, cases=()
        )
        return ComparisonResult(run, run, times, tuple(findings), False, wanted.folder)


OUT = ResultsFolder(Path("out"))
ASKED = make_run().options.model_copy(update={"device": "cpu", "select": "op"})
WANTED = ComparisonRequest("torch==2.4.0", "torch==2.6.0", (ASKED, ASKED), OUT, None, Path("baselines"))


def environments(*labels: str) -> tuple[str, ...]:
    """Environments by their short names: those of releases are versions."""
    return tuple(f"torch=={one}" if one[0].isdigit() else one for one in labels)


def ran(shown: dict[str, list[Finding] | Exception | str], gate: str | None = None) -> tuple[int, Releases]:
    compare = Releases(shown)
    asked = make_run().options.model_copy(update={"device": "auto", "select": "op"})
    names = environments("2.4.0", *shown)
    wanted = ComparisonRequest(names[0], names[-1], (asked, asked), OUT, None, Path("baselines"))
    answer = bisect(BisectRequest(names, wanted, gate), compare, lambda event: print(words(event)))
    print(sentence(answer))
    return answer.status, compare


GOOD, BAD = [finding(Verdict.PASS, change=0.001)], [finding(Verdict.REGRESSED, change=0.12)]


def test_the_release_is_named_with_its_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a comparison, then one that says it; the releases between are measured as the end was."""
    end = [*BAD, finding(Verdict.PASS, "op/b")]
    status, compare = ran({"2.5.0": GOOD, "2.6.0": GOOD, "2.7.0": BAD, "2.8.0": end})
    assert status == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "torch 2.8.0: bad: REGRESSED timing of op/a, +12.0 % (+11.0 % to +13.0 %)"
    assert [line.split(":")[0] for line in lines[1:-1]] == ["torch 2.8.0", "torch 2.6.0", "torch 2.7.0"]
    assert lines[-1] == (
        "torch 2.7.0 is the first bad one (REGRESSED timing of op/a, +12.0 % (+11.0 % to +13.0 %)); "
        "2.6.0 is good (PASS timing of op/a, +0.1 % (-0.9 % to +1.1 %))"
    )
    assert [one.folder.path for one in compare.options] == [Path("out/2.8.0"), Path("out/2.6.0"), Path("out/2.7.0")]
    assert {one.a for one in compare.options} == {"torch==2.4.0"}

    def said(options: RunOptions) -> tuple[str, str | None]:
        return options.device, options.select

    assert [said(one.options[1]) for one in compare.options] == [("auto", "op"), ("cpu", "op/a"), ("cpu", "op/a")]


WORSE = "REGRESSED timing of op/a, +12.0 % (+11.0 % to +13.0 %)"
MONTHS = tuple(f"docker:trainer:2025-{month:02}" for month in range(1, 6))


def test_images_are_searched_as_releases_are(capsys: pytest.CaptureFixture[str]) -> None:
    """By their names as they were given, each in a folder that is safe on any file system."""
    bad_from_the_fourth = dict(zip(MONTHS[1:], (GOOD, GOOD, BAD, BAD), strict=True))
    names = (MONTHS[0], *bad_from_the_fourth)
    wanted = ComparisonRequest(names[0], names[-1], (ASKED, ASKED), OUT, None, Path("baselines"))
    compare = Releases(bad_from_the_fourth)
    answer = bisect(BisectRequest(names, wanted, None), compare, lambda event: print(words(event)))
    assert (answer.good, answer.last_good, answer.first_bad, answer.bad) == (names[0], *names[2:5])
    assert (answer.environments, answer.index) == (names, None)
    assert [(one.release, one.environment, one.folder) for one in answer.steps] == [
        (names[place], names[place], f"docker-trainer-2025-0{place + 1}") for place in (4, 2, 3)
    ]
    assert [one.folder.path for one in compare.options] == [OUT.path / str(one.folder) for one in answer.steps]
    assert [(one.a, one.b) for one in compare.options] == [(names[0], names[place]) for place in (4, 2, 3)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"5 environments from {names[0]}, which is trusted, to {names[4]}; between them " + ", ".join(
        names[1:4]
    )
    assert lines[1].startswith(f"{names[4]}: bad: REGRESSED timing of op/a, ")
    assert sentence(answer) == (
        f"{names[3]} is the first bad one (REGRESSED timing of op/a, +12.0 % (+11.0 % to +13.0 %)); "
        f"{names[2]} is good (PASS timing of op/a, +0.1 % (-0.9 % to +1.1 %))"
    )


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (
            {"2.5.0": BAD, MONTHS[0]: BAD},
            f"torch 2.5.0 is the first bad one ({WORSE}); 2.4.0 is good, as given",
        ),
        (
            {MONTHS[0]: BAD, "2.5.0": BAD},
            f"{MONTHS[0]} is the first bad one ({WORSE}); torch 2.4.0 is good, as given",
        ),
        (
            {"2.5.0": GOOD, ".": GOOD},
            "no change between torch 2.4.0 and .: PASS timing of op/a, +0.1 % (-0.9 % to +1.1 %)",
        ),
        (
            {".": [finding(Verdict.FAILED)]},
            "whether . differs from torch 2.4.0 could not be told: FAILED timing of op/a, the reason of op/a",
        ),
    ],
)
def test_environments_of_several_kinds_are_told_apart(
    shown: dict[str, list[Finding] | Exception | str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A version is that of torch wherever an image stands beside it."""
    ran(shown)
    assert capsys.readouterr().out.splitlines()[-1] == said


def test_an_image_that_is_gone_is_gone_around(capsys: pytest.CaptureFixture[str]) -> None:
    """As a release that can't be had; what another environment lacks ends the search."""
    gone = EnvironmentUnavailableError(MONTHS[1], "the Docker engine has no image trainer:2025-02; docker pull it")
    ran({MONTHS[1]: gone, MONTHS[2]: BAD})
    out = capsys.readouterr().out
    assert f"{MONTHS[1]}: skipped: not available: the Docker engine has no image trainer:2025-02; docker pull" in out
    assert out.splitlines()[-1].endswith(f"; {MONTHS[1]} could not be told")
    with pytest.raises(EndedError):
        ran({MONTHS[1]: EnvironmentUnavailableError(MONTHS[0], "it is gone"), MONTHS[2]: BAD})


def test_the_answer_is_also_data() -> None:
    """Every step in its order, and which two releases the change lies between."""
    asked = make_run().options.model_copy(update={"device": "cpu", "select": "op"})
    wanted = ComparisonRequest("torch==2.4.0", "torch==2.7.0", (asked, asked), OUT, None, Path("baselines"))
    steps: list[Event] = []
    shown: dict[str, list[Finding] | Exception | str] = {"2.5.0": GOOD, "2.6.0": BAD, "2.7.0": BAD}
    answer = bisect(BisectRequest(environments("2.4.0", *shown), wanted, "timing"), Releases(shown), steps.append)
    assert BisectAnswer.model_validate_json(answer.model_dump_json(by_alias=True)) == answer
    assert [(one.release, one.assessment) for one in answer.steps] == [
        ("2.7.0", Assessment.BAD),
        ("2.5.0", Assessment.GOOD),
        ("2.6.0", Assessment.BAD),
    ]
    assert (answer.good, answer.bad, answer.gate) == ("2.4.0", "2.7.0", "timing")
    assert (answer.last_good, answer.first_bad, answer.between) == ("2.5.0", "2.6.0", ())
    assert len(steps) == 4
    same = bisect(BisectRequest(environments("2.4.0", "2.5.0"), wanted, None), Releases({"2.5.0": GOOD}), steps.append)
    assert (same.first_bad, same.last_good, same.status) == (None, None, 0)


def test_no_change_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    status, compare = ran({"2.5.0": BAD, "2.6.0": GOOD})
    assert (status, len(compare.options)) == (0, 1)
    assert (
        capsys.readouterr().out.splitlines()[-1].startswith("no change between torch 2.4.0 and 2.6.0: PASS timing of")
    )


@pytest.mark.parametrize("end", [[finding(Verdict.INCONCLUSIVE)], [finding(Verdict.FAILED)], "the disk is full"])
def test_ends_that_can_not_be_told_apart_end_it(end: list[Finding] | str, capsys: pytest.CaptureFixture[str]) -> None:
    status, compare = ran({"2.5.0": BAD, "2.6.0": end})
    assert (status, len(compare.options)) == (3, 1)
    assert "whether torch 2.6.0 differs from 2.4.0 could not be told: " in capsys.readouterr().out


def test_a_release_that_can_not_be_had_is_gone_around(capsys: pytest.CaptureFixture[str]) -> None:
    """By name, with the reason."""
    gone = EnvironmentUnavailableError("torch==2.6.0", "the package index can't be reached; connect this machine")
    status, _ = ran({"2.5.0": GOOD, "2.6.0": gone, "2.7.0": BAD, "2.8.0": BAD})
    out = capsys.readouterr().out
    assert "torch 2.6.0: skipped: not available: the package index can't be reached; connect this machine\n" in out
    assert status == 3
    assert out.splitlines()[-1].startswith("the change came after torch 2.5.0 and not after 2.7.0 (REGRESSED timing of")
    assert out.splitlines()[-1].endswith("; 2.6.0 could not be told")


def test_what_is_no_fault_of_a_release_ends_it() -> None:
    """The folder can't be written, or the good release is gone: before the ends are told apart nothing is known."""
    full = InputError("out/2.6.0: cannot be written to: No space left on device")
    with pytest.raises(EndedError, match=r"^out/2\.6\.0: cannot") as ended:
        ran({"2.5.0": GOOD, "2.6.0": full, "2.7.0": GOOD, "2.8.0": BAD})
    assert ended.value.cause is full
    answer = ended.value.answer
    assert (answer.last_good, answer.first_bad, answer.status) == ("2.4.0", "2.8.0", 3)
    assert sentence(answer).startswith(f"{full}; the change came after torch 2.4.0 and not after 2.8.0 (")
    with pytest.raises(InputError, match=r"^out/2\.6\.0: cannot"):
        ran({"2.5.0": GOOD, "2.6.0": InputError("out/2.6.0: cannot be written to")})


@pytest.mark.parametrize("ends", ["found", "early", "at once"])
def test_what_an_earlier_search_left_is_gone(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: str
) -> None:
    """Its answer and its comparisons, unless this one is refused at once; what else lies there stays.

    What was found is said, however it ended.
    """
    for version in ("2.7.0", "2.8.0", "2.9.1"):
        wheel(index, version, {})
    steps = tuple(BisectStep(release=release, assessment=Assessment.GOOD) for release in ("2.6.0", ".."))
    image = BisectStep(
        release=MONTHS[0], assessment=Assessment.GOOD, environment=MONTHS[0], folder="docker-trainer-2025-01-2"
    )
    forged = image.model_copy(update={"folder": "mine"})
    ends_of_it = {"good": "2.5.0", "bad": "2.6.0", "gate": None, "last_good": None, "first_bad": None}
    left = BisectAnswer(schema=1, **ends_of_it, between=(), steps=(*steps, image, forged), status=ExitStatus.FINE)
    (tmp_path / "o" / "2.6.0").mkdir(parents=True)
    (tmp_path / "o" / "mine").mkdir()
    (tmp_path / "o" / "docker-trainer-2025-01-2").mkdir()
    (tmp_path / "o" / "bisect.json").write_text(left.model_dump_json(by_alias=True))
    gone: InputError | list[Finding] = InputError("o/2.8.0: cannot be written to")
    shown = {"2.8.0": gone if ends == "early" else GOOD, "2.9.1": gone if ends == "at once" else BAD}
    monkeypatch.setattr("bnsuite.cli.verdicts.compared", Releases(shown))
    words = ("--good", "torch==2.7.0", "--bad", "torch==2.9.1", "-k", "op/batch_norm1d")
    status = main(["bisect", *words, "--device", "cpu", "--out", "o"])
    out, err = capsys.readouterr()
    assert status == (0 if ends == "found" else 2), err
    assert (tmp_path / "o" / "mine").exists()
    for old in ("2.6.0", "docker-trainer-2025-01-2"):
        assert (tmp_path / "o" / old).exists() is (ends == "at once")
    answer = BisectAnswer.model_validate_json((tmp_path / "o" / "bisect.json").read_text())
    assert (answer == left) is (ends == "at once")
    assert ("o/2.8.0: cannot be written to" in err) is (ends != "found")
    last = {
        "found": "torch 2.9.1 is the first bad one (",
        "early": "o/2.8.0: cannot be written to; the change came after torch 2.7.0 and not after 2.9.1 (",
        "at once": "3 releases from torch 2.7.0, which is trusted, to 2.9.1",
    }
    assert out.splitlines()[-1].startswith(last[ends])


def test_an_interruption_tells_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the ends it is one of the command; later the change lies between two releases by then."""
    with pytest.raises(KeyboardInterrupt):
        ran({"2.5.0": GOOD, "2.6.0": "interrupted"})
    status, _ = ran({"2.5.0": GOOD, "2.6.0": GOOD, "2.7.0": "interrupted", "2.8.0": BAD})
    said = capsys.readouterr().out.splitlines()[-1]
    assert status == 3
    assert said.startswith("interrupted; the change came after torch 2.6.0 and not after 2.8.0 (REGRESSED timing of")


def test_every_gate_can_be_named() -> None:
    """A name that is no gate's is refused with those there are."""
    for name in gates.GATES:
        assert GateName().convert(name, None, None) == name
    with pytest.raises(click.BadParameter, match="there is no gate 'speed'; choose from numerics, behaviour"):
        GateName().convert("speed", None, None)


def test_another_change_on_the_way_is_not_the_one(capsys: pytest.CaptureFixture[str]) -> None:
    """What regressed in between and was mended by the end is no answer."""
    other = [*GOOD, finding(Verdict.REGRESSED, "op/b", change=0.3)]
    status, _ = ran({"2.5.0": other, "2.6.0": [*BAD, finding(Verdict.PASS, "op/b")]})
    assert status == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("torch 2.6.0 is the first bad one ")


def fake_release(index: Path, version: str, code: str) -> None:
    """A release that is the tests' own torch once `code` was run."""
    torch = find_spec("torch")
    assert torch is not None
    name = f"release_{version.replace('.', '_')}"
    path = f"import {name}\n{Path(str(torch.origin)).parents[1]}\n"
    wheel(index, version, {f"{name}.py": code, f"{name}.pth": path})


@pytest.mark.slow
def test_the_night_that_brought_a_change_is_found_on_another_index(
    index: Path, start: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By real pips, from an index with a password, which nothing prints or records."""
    monkeypatch.delenv("PIP_FIND_LINKS")
    nightly = tmp_path / "nightly"
    nightly.mkdir()
    wheel(nightly, "2.14.0", {})
    for day, code in (("0930", ""), ("1001", ""), ("1003", WRONG), ("1004", WRONG)):
        fake_release(nightly, f"2.15.0.dev2026{day}", code)
    wheel(nightly, "2.15.0.dev20261002", {}, "cp27-cp27m-any")
    with serving(nightly, user="me:hidden-words") as url:
        ends = ("--good", "torch==2.15.0.dev20260930", "--bad", "torch==2.15.0.dev20261004", "--index-url", url)
        process = start("bisect", *ends, "-k", "numerics/ref and eval/eps", "--device", "cpu", "--out", "o")
        out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert out.startswith("4 releases from torch 2.15.0.dev20260930, which is trusted, to 2.15.0.dev20261004\n")
    assert "torch 2.15.0.dev20261003 is the first bad one (REGRESSED numerics of numerics/reference/" in out
    answer = BisectAnswer.model_validate_json((tmp_path / "o" / "bisect.json").read_text())
    assert (answer.last_good, answer.first_bad) == ("2.15.0.dev20261001", "2.15.0.dev20261003")
    assert answer.index == PackageIndex(url=url.replace("me:hidden-words@", ""))
    written = [path for top in ("o", "cache") for path in (tmp_path / top).rglob("*") if path.is_file()]
    run = json.loads((tmp_path / "o" / "2.15.0.dev20261001" / "b" / "run.json").read_text())
    assert run["options"]["index"] == answer.index.model_dump(mode="json")
    assert [path for path in written if b"hidden-words" in path.read_bytes()] == []
    assert "hidden-words" not in out + err + "".join(map(str, written))


@pytest.mark.slow
def test_the_real_command_finds_it(index: Path, start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """Of five releases by the real pip one has no worker that starts, and the last has a wrong batch norm."""
    dies = "import os; os.environ.get('BNSUITE_TOKEN') and os._exit(7)"
    for version, code in (("2.4.7", ""), ("2.5.9", ""), ("2.6.3", dies), ("2.7.2", ""), ("2.8.1", WRONG)):
        fake_release(index, version, code)
    arguments = ("--good", "torch==2.4.7", "--bad", "torch==2.8.1", "-k", "numerics/ref and eval/eps")
    process = start("bisect", *arguments, "--device", "cpu", "--gate", "numerics", "--out", "o")
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert "torch 2.6.3: skipped: not available: no worker starts there: the process ended with status 7" in out
    assert "torch 2.5.9: good: PASS numerics of numerics/reference/batch_norm2d/eval/eps" in out
    assert "torch 2.8.1 is the first bad one (REGRESSED numerics of numerics/reference/batch_norm2d/eval/eps, " in out
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        *("2.5.9", "2.7.2", "2.8.1"),
        "bisect.json",
    }
    answer = BisectAnswer.model_validate_json((tmp_path / "o" / "bisect.json").read_text())
    assert (answer.first_bad, answer.last_good, answer.between) == ("2.8.1", "2.7.2", ())
    assert {one.release: one.assessment for one in answer.steps}["2.6.3"] is Assessment.SKIPPED
