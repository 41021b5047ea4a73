"""``bnsuite export``: files of one judged folder, after the fact."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import click
import pytest

from bnsuite.cli.command import VERB_GROUP, main
from bnsuite.record.errors import WriteError
from bnsuite.record.folder import ResultsFolder
from bnsuite.report import writers
from bnsuite.report.exports import files, github_summary, registry
from bnsuite.report.exports.registry import EXPORTS
from bnsuite.report.judged import Report
from conftest import ROOT
from judged_reports import compared, empty, every_verdict, hostile, many, saved

FLAGS = [f"--{one.name}" for one in EXPORTS]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, as outside of any CI service, with a run and a comparison."""
    monkeypatch.chdir(tmp_path)
    for name in ("BNSUITE_OUT", "BNSUITE_BASELINES", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    saved(every_verdict(), tmp_path / "run")
    saved(compared(), tmp_path / "ab")
    return tmp_path


@pytest.mark.parametrize("where", ["run", "ab"])
def test_all_files_are_written_and_told(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the results, a path a line; the verdicts, which are a regression, change nothing."""
    before = {path.name for path in Path(where).iterdir()}
    assert main(["export", where, "--all"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [f"{where}/{name}" for name in registry.FILES]
    assert {path.name for path in Path(where).iterdir()} == before | set(registry.FILES)


@pytest.mark.parametrize("export", EXPORTS, ids=lambda one: one.name)
def test_each_has_its_flag(export: registry.Export, capsys: pytest.CaptureFixture[str]) -> None:
    """One alone, into another folder, which is made; what has no file is printed."""
    assert main(["export", "run", f"--{export.name}", "--out", "new/er"]) == 0
    out = capsys.readouterr().out
    if export.file is None:
        assert out.startswith("::error title=REGRESSED")
        assert not Path("new").exists()
    else:
        assert out == f"new/er/{export.file}\n"
        assert [path.name for path in Path("new/er").iterdir()] == [export.file]


def test_several_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of the list."""
    assert main(["export", "run", "--csv", "--junit"]) == 0
    assert capsys.readouterr().out == "run/junit.xml\nrun/findings.csv\n"


def test_the_last_run_is_the_default(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As for `show`: the folder of BNSUITE_OUT, else results/latest."""
    Path("results").mkdir()
    Path("results/latest").symlink_to("../run")
    assert main(["export", "--csv"]) == 0
    monkeypatch.setenv("BNSUITE_OUT", "ab")
    assert main(["export", "--csv"]) == 0
    assert capsys.readouterr().out == "results/latest/findings.csv\nab/findings.csv\n"


def test_strict_is_of_junit_alone() -> None:
    """No other file differs."""
    assert main(["export", "run", "--all", "--out", "usual"]) == 0
    assert main(["export", "run", "--all", "--out", "strict", "--strict"]) == 0
    differ = [name for name in registry.FILES if Path("usual", name).read_bytes() != Path("strict", name).read_bytes()]
    assert differ == ["junit.xml"]


def test_the_help_names_each_format() -> None:
    """With its file, and says that the verdicts do not matter."""
    command = VERB_GROUP.get_command(click.Context(VERB_GROUP), "export")
    assert command is not None
    text = " ".join(command.get_help(click.Context(command, info_name="export")).split())
    assert all(flag in text for flag in FLAGS)
    assert all(name in text for name in registry.FILES)
    assert "The verdicts do not change it" in text


def test_no_format_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """That names them all."""
    assert main(["export", "run"]) == 2
    assert "no format is asked for; choose from --junit, " in capsys.readouterr().err


def test_a_step_of_a_github_job_has_its_summary(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After what others wrote into it; both exports of one step are in it."""
    summary = folder / "step-summary"
    summary.write_text("others")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    for where in ("run", "ab"):
        assert main(["export", where, "--github-summary"]) == 0
        assert not Path(where, "github-summary.md").exists()
    assert capsys.readouterr().out == f"{summary}\n" * 2
    text = summary.read_text()
    assert text.startswith("others\n## 🔴 bnsuite: REGRESSED")
    assert text.count("## 🔴 bnsuite") == 2


def test_a_full_summary_is_not_made_too_long(folder: Path) -> None:
    """GitHub drops all of one that is longer than its limit: what is left is used, or the file of its own."""
    summary, most = folder / "step-summary", github_summary.MOST_BYTES
    (export,) = (one for one in EXPORTS if one.within is not None)
    summary.write_bytes(b"x" * (most - 10_000))
    assert files.write(export, many(), folder, strict=False, shared=summary) == summary
    assert most - 5000 < summary.stat().st_size <= most
    summary.write_bytes(b"x" * (most - 100))
    assert files.write(export, every_verdict(), folder, strict=False, shared=summary) == folder / "github-summary.md"
    assert summary.stat().st_size == most - 100


def test_files_of_0_3_0_are_exported(folder: Path) -> None:
    """A run, and a comparison whose times have their old name."""
    with tarfile.open(ROOT / "tests" / "data" / "written-by-0.3.0.tar.gz") as archive:
        archive.extractall(folder / "old", filter="data")
    for where in ("old/run", "old/ab"):
        assert main(["export", where, "--all"]) == 0
        findings = json.loads(Path(where, "findings.json").read_text())["findings"]
        assert len(Path(where, "findings.csv").read_text().splitlines()) == 1 + len(findings)


def test_a_comparison_without_verdicts_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """By what it left when it was killed."""
    Path("ab/findings.json").unlink()
    assert main(["export", "ab", "--github-annotations"]) == 0
    assert "::notice title=bnsuite::" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda: Path("run/findings.json").unlink(), "there are no verdicts yet; `bnsuite check run` prints them"),
        (lambda: Path("run/run.json").write_text('{"schema": 4, "kind"'), "not JSON, or cut off"),
        (lambda: Path("run/findings.json").write_text(""), "the file is empty"),
        (lambda: Path("run/findings.json").write_text('{"schema": 99}'), "use a newer bnsuite"),
        (lambda: Path("run/run.json").unlink(), "there is no run there"),
    ],
)
def test_what_cannot_be_read_is_one_line(damage: object, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With status 2, and nothing is written."""
    damage()  # type: ignore[operator]
    assert main(["export", "run", "--all"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert said in shown.err
    assert not set(registry.FILES) & {path.name for path in Path("run").iterdir()}


def test_one_that_cannot_be_written_costs_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    """The error is one line, with status 2."""
    Path("run/junit.xml/in-the-way").mkdir(parents=True)
    assert main(["export", "run", "--junit", "--csv"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "run/findings.csv\n"
    assert shown.err.startswith("bnsuite: run/junit.xml: cannot be written: ")
    assert shown.err.count("\n") == 1


def test_a_fault_of_a_format_is_one_line() -> None:
    """It names the format."""

    def raises(_: Report) -> str:
        raise KeyError("x")

    broken = registry.Export("broken", "broken.txt", "nobody", raises)
    with pytest.raises(WriteError, match="--broken: KeyError: 'x'; please report this"):
        files.rendered(broken, every_verdict(), strict=False)


def test_a_new_run_removes_the_exports_of_the_last_one() -> None:
    """They would be taken for its own."""
    assert main(["export", "run", "--all"]) == 0
    Path("run/notes.txt").write_text("mine")
    ResultsFolder(Path("run"), writers.OUTPUTS).clean()
    assert [path.name for path in Path("run").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("export", EXPORTS, ids=lambda one: one.name)
def test_no_format_lets_a_control_character_through(export: registry.Export) -> None:
    """Nor half of a pair, nor a mark that turns the direction of writing: files are UTF-8 of printable lines."""
    for report in (*hostile(), empty()):
        text = export.render(report)
        lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        assert all(line.isprintable() for line in lines)
        assert text.encode()
