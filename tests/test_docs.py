"""What stands beside the code is true: README, CHANGELOG, Makefile, locks."""

from __future__ import annotations

import re
import subprocess

import click
import pytest

import defects
from bnsuite import __version__
from bnsuite.cases import all_cases
from bnsuite.cli.command import VERB_GROUP, VERBS
from bnsuite.judge.verdict import ExitStatus, Verdict
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_begins_with_the_two_commands() -> None:
    """On the first screen."""
    first_screen = "\n".join(README.splitlines()[:40])
    assert "make bench" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "run"])
def test_every_verb_stands_in_the_readme(verb: str) -> None:
    assert f"bnsuite {verb}" in README


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_option_stands_in_the_readme(verb: str) -> None:
    """The options are those the parsers know, not a list of ours."""
    command = VERB_GROUP.get_command(click.Context(VERB_GROUP), verb)
    assert command is not None
    for param in command.params:
        for option in param.opts if isinstance(param, click.Option) else []:
            assert option == "--plant" or re.search(rf"[` (]{option}\b", README), option  # --plant is the old name


def test_every_verdict_and_status_stands_in_the_readme() -> None:
    for verdict in Verdict:
        assert f"`{verdict.value}`" in README
    for status in ExitStatus:
        assert f"**{status.value}**" in README


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "baselines/README.md",
        "docs/results/articles.md",
        "docs/results/layers.md",
        "docs/defects.md",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    """Every file that a page links or shows is there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or ((ROOT / page).parent / target).exists(), target


def test_every_known_defect_has_cases_or_a_reason() -> None:
    """docs/defects.md is as `make defects` writes it: each row with the cases that would catch it, or why none does."""
    assert defects.PAGE.read_text(encoding="utf-8") == defects.page()
    caught = {one.id for one in defects.DEFECTS if defects.catching(one)}
    assert caught | set(defects.WHY_NOT) == {one.id for one in defects.DEFECTS}
    assert not caught & set(defects.WHY_NOT)


def test_rows_that_cases_name_are_there() -> None:
    known = {one.id for one in defects.DEFECTS}
    assert {row for case in all_cases() for row in getattr(case, "rows", ())} <= known


def test_the_changelog_knows_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_target_of_the_makefile_helps() -> None:
    """`make` alone lists the targets that a user may call."""
    said = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = {line.split()[0] for line in said.splitlines()}
    assert {
        "help",
        "setup",
        "bench",
        "test",
        "check",
        "lint",
        "types",
        "image",
        "image-run",
        "accept",
        "clean",
    } <= targets


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", text, re.MULTILINE))


def test_the_locks_agree_and_are_hashed() -> None:
    """What is tested is what is measured: the test lock holds the other one whole, and every entry has hashes."""
    bench, test = pins("bench"), pins("test")
    assert bench.items() <= test.items()
    assert bench["torch"] == "2.14.1"
    assert bench["torchvision"] == "0.29.1"
    for name in ("bench", "test"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        blocks = re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in block for block in blocks)
        assert "://" not in text


def test_files_have_one_subject() -> None:
    """A file of the package that grows past 350 lines has found a second one."""
    for path in (ROOT / "suite").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, path
