"""Documents and locks agree with the code: README, CONTRIBUTING, CHANGELOG, Makefile, requirements."""

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
from test_imports import MAY_IMPORT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

#: Options that are accepted for the sake of old scripts.
OLD_NAMES = {"--plant"}


def test_the_readme_begins_with_the_two_commands() -> None:
    """`make bench` and `make test` are on the first screen."""
    first_screen = "\n".join(README.splitlines()[:40])
    assert "make bench" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "run"])
def test_every_verb_stands_in_the_readme(verb: str) -> None:
    """Each verb is shown with the command."""
    assert f"bnsuite {verb}" in README


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_option_stands_in_the_readme(verb: str) -> None:
    """Each option of each parser is described; an old name need not be."""
    command = VERB_GROUP.get_command(click.Context(VERB_GROUP), verb)
    assert command is not None
    for param in command.params:
        for option in param.opts if isinstance(param, click.Option) else []:
            assert option in OLD_NAMES or re.search(rf"[` (]{option}\b", README), option


def test_every_verdict_and_status_stands_in_the_readme() -> None:
    """Each verdict and each exit status is explained."""
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
        "docs/results/interleaving.md",
        "docs/results/layers.md",
        "docs/results/releases.md",
        "docs/defects.md",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    """Every file that a page links or shows exists."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or ((ROOT / page).parent / target).exists(), target


def test_every_known_defect_has_cases_or_a_reason() -> None:
    """docs/defects.md is the output of `make defects`: each row has the cases that would catch it, or the reason."""
    assert defects.PAGE.read_text(encoding="utf-8") == defects.page()
    caught = {one.id for one in defects.DEFECTS if defects.catching(one)}
    assert caught | set(defects.WHY_NOT) == {one.id for one in defects.DEFECTS}
    assert not caught & set(defects.WHY_NOT)


def test_every_family_of_checks_stands_in_contributing() -> None:
    """The table of families has each family with a module that exists, and no other."""
    rows = re.findall(r"^\| `((?:numerics|behaviour)/[^`]+)` \| `([^`]+)`", CONTRIBUTING, re.MULTILINE)
    families = {f"{case.labels['gate']}/{case.labels['family']}" for case in all_cases() if case.kind == "check"}
    assert {family for family, _ in rows} == families
    for _, module in rows:
        assert (ROOT / "suite" / "bnsuite" / "cases" / "checks" / module).exists(), module


def test_every_folder_stands_in_contributing() -> None:
    """The table of the architecture has each folder of the package with the folders that it may import."""
    rows = dict(re.findall(r"^\| `(\w+)/` \|.*\| ([^|]+) \|$", CONTRIBUTING, re.MULTILINE))
    outer = {name for name in MAY_IMPORT if name.isidentifier()} - {"cases", "measure", "cli"}
    expected = {name: set(may) for name, may in MAY_IMPORT.items() if name.isidentifier()}
    stated = {name: outer if "all" in may else set(re.findall(r"`(\w+)`", may)) for name, may in rows.items()}
    assert stated == expected


def test_rows_that_cases_name_are_there() -> None:
    """Cases name only rows of the list of known defects."""
    known = {one.id for one in defects.DEFECTS}
    assert {row for case in all_cases() for row in getattr(case, "rows", ())} <= known


def test_the_changelog_knows_this_version() -> None:
    """The newest section is that of this version, and every section has the usual three parts or fewer."""
    assert re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)[0] == __version__
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= {"Added", "Changed", "Fixed", "Removed"}


def test_every_target_of_the_makefile_helps() -> None:
    """`make` alone lists the targets that a user may call."""
    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = {line.split()[0] for line in listed.splitlines()}
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
    """The test lock includes the lock of what is measured, and every entry has hashes."""
    bench, test = pins("bench"), pins("test")
    assert bench.items() <= test.items()
    assert bench["torch"] == "2.14.1"
    assert bench["torchvision"] == "0.29.1"
    for name in ("bench", "test"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        blocks = re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in block for block in blocks)
        assert "://" not in text


def test_files_are_short() -> None:
    """No file of the package is longer than 350 lines."""
    for path in (ROOT / "suite").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, path
