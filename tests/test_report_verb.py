"""``bnsuite report``: the page of whatever lies in a folder, also of an old release or without verdicts."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from bnsuite.cli import main
from bnsuite.record import interleaved, store
from bnsuite.record.folder import FINDINGS as VERDICTS
from bnsuite.record.folder import REPORT_HTML
from bnsuite.report import html
from html_pages import COMPARISON, Page
from test_migration import ARCHIVE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with what 0.3.0 wrote, where commands are started."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    for name in ("BNSUITE_OUT", "BNSUITE_BASELINES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("where", ["run", "ab"])
def test_files_of_an_old_release_have_a_page(where: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdicts as they were given, and the values of the baseline that they name."""
    assert main(["report", where]) == 0
    assert capsys.readouterr().out == f"wrote {where}/{REPORT_HTML}\n"
    page = Page((folder / where / REPORT_HTML).read_text())
    assert len(page.all("main")) == 1
    plain = " ".join(page.text.split())
    if where == "run":
        assert "What the articles claim" in plain
        assert "medians of 3 launches in 1 run" in plain
    else:
        assert page.text_of("h1") == ["B is worse than A in 2 cases (timing)."]
        assert "injected fault none slower = 0.2" in plain


def test_a_comparison_without_verdicts_has_a_page(folder: Path) -> None:
    """It is judged by what it left."""
    (folder / "ab" / VERDICTS).unlink()
    assert main(["report", "ab", "--out", "page.html"]) == 0
    assert Page((folder / "page.html").read_text()).text_of("h1") == ["B is worse than A in 2 cases (timing)."]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "nowhere"], "nowhere: there is no run there"),
        (["report", "run", "--baselines", "nowhere"], "--baselines nowhere: there is no such folder"),
        (["report", "run", "--out", "ab"], "--out ab: is a folder; name a file"),
        (["report", "run", "--out", "no/where.html"], "no/where.html: cannot be written"),
    ],
)
def test_what_can_not_be_reported_is_one_line(
    arguments: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2 and nothing on stdout."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_a_run_without_verdicts_says_what_prints_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "run" / VERDICTS).unlink()
    assert main(["report", "run"]) == 2
    assert "there are no verdicts yet; `bnsuite check run` prints them" in capsys.readouterr().err


def test_damaged_baselines_cost_their_values_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page is written, and a line says what is not in it."""
    for file in (folder / "baselines" / "timing").iterdir():
        file.write_text("{")
    assert main(["report", "run"]) == 0
    assert "without the values of the baseline: " in capsys.readouterr().err
    assert (folder / "run" / REPORT_HTML).exists()


def test_what_was_saved_is_loaded_again(tmp_path: Path) -> None:
    """A comparison on disk has the same page as the one in memory."""
    for name, run in (("a", COMPARISON.a), ("b", COMPARISON.b)):
        (tmp_path / name).mkdir()
        store.save(run, tmp_path / name)
    interleaved.save(COMPARISON.times, tmp_path)
    (tmp_path / VERDICTS).write_text(COMPARISON.judgement.model_dump_json(by_alias=True))
    assert main(["report", str(tmp_path)]) == 0
    assert (tmp_path / REPORT_HTML).read_text() == html.text(COMPARISON)
