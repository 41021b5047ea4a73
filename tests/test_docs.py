"""Documents and locks agree with the code: README, docs, CONTRIBUTING, CHANGELOG, Makefile, requirements."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import click
import pytest

import defects
import pages as generated
from bnsuite import __version__, judge, record
from bnsuite.cases import all_cases
from bnsuite.cli.command import VERB_GROUP, VERBS
from bnsuite.judge.verdict import ExitStatus, Judgement, Verdict
from bnsuite.record import interleaved, selftest, store
from bnsuite.record.schema import Versioned
from bnsuite.report import findings_json
from conftest import ROOT
from doc_commands import PENDING, pages
from pages import command_line, files, schemas
from pages.fields import FIELDS
from test_imports import MAY_IMPORT
from test_migration import ARCHIVE

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
README, *_ = pages()


def read(*names: str) -> str:
    """The text of a document."""
    return ROOT.joinpath(*names).read_text(encoding="utf-8")


def test_the_readme_begins_with_the_two_commands() -> None:
    """`make bench` and `make test` are on the first screen."""
    first_screen = "\n".join(README.read_text(encoding="utf-8").splitlines()[:40])
    assert "make bench" in first_screen
    assert "make test" in first_screen


def test_the_readme_is_short() -> None:
    """It has at most 120 lines; the rest is in docs/."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("name", generated.PAGES)
def test_a_generated_page_is_that_of_the_code(name: str) -> None:
    """docs/reference has the output of `make reference`: every verb, option, field and family of cases."""
    assert read("docs", "reference", name) == generated.PAGES[name](), "make reference"


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_stands_in_the_reference(verb: str) -> None:
    """Each option of each parser is in the section of its verb; an old name need not be."""
    sections = read("docs", "reference", "command-line.md").split("\n## ")
    (section,) = (one for one in sections if one.startswith(f"`bnsuite {verb}`"))
    command = VERB_GROUP.get_command(click.Context(VERB_GROUP), verb)
    assert command is not None
    for param in command.params:
        for option in param.opts if isinstance(param, click.Option) else []:
            assert option in command_line.OLD_NAMES or re.search(rf"`{option}[ `]", section), option


@pytest.mark.parametrize(
    ("file", "sample"),
    [
        ("run.json", lambda: store.load(Path("run"))),
        ("findings.json", lambda: store.parse(Judgement, Path("run/findings.json").read_text("utf-8"), Path())),
        ("interleaved.json", lambda: interleaved.load(Path("ab"))),
        ("selftest.jsonl", lambda: selftest.load(Path("selftest"))[0]),
    ],
    ids=["run.json", "findings.json", "interleaved.json", "selftest.jsonl"],
)
def test_a_file_is_valid_by_its_schema(
    file: str, sample: Callable[[], Versioned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JSON Schema accepts a file of this version, and refuses one with a field more."""
    jsonschema = pytest.importorskip("jsonschema")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    schema = json.loads(read("docs", "reference", "schemas", schemas.name(file)))
    jsonschema.Draft202012Validator.check_schema(schema)
    value = sample()
    written = findings_json.text(value) if isinstance(value, Judgement) else value.model_dump_json(by_alias=True)
    jsonschema.validate(json.loads(written), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**json.loads(written), "more": 1}, schema)


def test_every_file_with_a_schema_is_in_the_reference() -> None:
    """Each kind of file or line that has a schema has a section."""
    for package in (record, judge):
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    found = [*Versioned.__subclasses__()]
    for one in found:
        found += one.__subclasses__()
    assert {one for one in found if "SCHEMA" in vars(one)} == {model for _, _, model in files.FILES}


def test_descriptions_of_fields_are_of_fields() -> None:
    """Each description that stands beside the schemas is that of a field which has no comment of its own."""
    models = {one.__name__: one for _, _, model in files.FILES for one in (model, *files.records(model))}
    for name in FIELDS:
        owner, _, field = name.rpartition(".")
        owners = [models[owner]] if owner else [*models.values()]
        assert any(field in one.model_fields for one in owners), name
        assert not owner or field not in files.comments(models[owner]), name


@pytest.mark.parametrize("page", ["README.md", "docs/reference/verdicts.md"])
def test_every_verdict_and_status_is_explained(page: str) -> None:
    """README and reference have each verdict and each exit status."""
    text = (README if page == "README.md" else ROOT / page).read_text(encoding="utf-8")
    for verdict in Verdict:
        assert f"`{verdict.value}`" in text
    for status in ExitStatus:
        assert f"**{status.value}**" in text


def test_every_variable_stands_in_the_reference() -> None:
    """Each variable of bnsuite's own that the code, the Makefile or the image reads is described."""
    sources = [*(ROOT / "suite").rglob("*.py"), ROOT / "Makefile", ROOT / "Dockerfile"]
    used = {name for path in sources for name in re.findall(r"\b_?BNSUITE_[A-Z]+", path.read_text(encoding="utf-8"))}
    text = read("docs", "reference", "environment.md")
    assert {name for name in used if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every file that a page links or shows exists."""
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists() or target in PENDING, target


def test_every_known_defect_has_cases_or_a_reason() -> None:
    """docs/defects.md is the output of `make defects`: each row has the cases that would catch it, or the reason."""
    assert defects.PAGE.read_text(encoding="utf-8") == defects.page()
    caught = {one.id for one in defects.DEFECTS if defects.catching(one)}
    assert caught | set(defects.WHY_NOT) == {one.id for one in defects.DEFECTS}
    assert not caught & set(defects.WHY_NOT)


def test_the_rates_that_documents_state_are_those_of_the_self_test() -> None:
    """The tables of rates, and the sentences of the README, follow from the trials in docs/results/selftest."""
    every = selftest.load(ROOT / "docs" / "results" / "selftest")
    trials = [one for one in every if one.where.machine.startswith("AMD EPYC")]
    seen = Counter(
        (one.kind, one.where.busy, it.verdict) for one in trials for it in one.findings if it.gate == "timing"
    )
    made = Counter((one.kind, one.where.busy) for one in trials)
    text = read("docs", "explanation", "interleaving.md")
    for busy, where in ((False, "nothing else running"), (True, "beside a busy process")):
        night = [seen["night", busy, verdict] for verdict in ("PASS", "INCONCLUSIVE", "REGRESSED")]
        assert f"| {where} | {made['night', busy]} | {sum(night)} | {' | '.join(map(str, night))} |" in text
    for percent in (2, 3, 5):
        found = [seen[f"slower-{percent}%", busy, "REGRESSED"] for busy in (False, True)]
        of = [3 * made[f"slower-{percent}%", busy] for busy in (False, True)]
        assert f"| {percent} % | 20 each | {found[0]} of {of[0]} | {found[1]} of {of[1]} |" in text
    assert (seen["slower-3%", False, "REGRESSED"], seen["night", False, "REGRESSED"]) == (60, 0)
    elsewhere = [one for one in every if one not in trials]
    verdicts = [it.verdict for one in elsewhere for it in one.findings if it.gate == "timing"]
    assert {(one.kind, one.where.busy) for one in elsewhere} == {("slower-5%", False)}
    found = f"{len(elsewhere)} comparisons found 5 % in {verdicts.count('REGRESSED')} of {len(verdicts)} cases"
    assert found in " ".join(text.split())
    assert "a slowdown of 3 % was found in 60 of 60\ncases, and thirty comparisons" in README.read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "explanation" / "checks.md"], ids=lambda page: page.name)
def test_the_number_of_known_defects_is_that_of_the_list(page: Path) -> None:
    """README and docs count the defects, and those with a case, as docs/defects.md does."""
    caught = [one for one in defects.DEFECTS if defects.catching(one)]
    text = page.read_text(encoding="utf-8")
    assert f" {len(defects.DEFECTS)} " in text
    assert re.search(rf"\b{len(caught)}\b", text)


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
    """The newest section that is released is this version's; every section has the usual three parts or fewer."""
    sections = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert next(one for one in sections if not one.endswith("(unreleased)")) == __version__
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
