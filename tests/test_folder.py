"""Folders of results: what an earlier command left goes, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsuite.record.errors import InputError
from bnsuite.record.folder import OLD_TIMES, TIMES, ResultsFolder, is_step_folder, step_folders


def put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("times", [TIMES, OLD_TIMES])
def test_a_comparison_goes_with_its_sides(tmp_path: Path, times: str) -> None:
    """What the user put beside them stays, whatever its times are called."""
    put(*(tmp_path / name for name in (times, "a/run.json", "b/run.json", "b/trainings/x.jsonl", "notes.md")))
    ResultsFolder(tmp_path).require_no_other_sides()
    ResultsFolder(tmp_path).clean()
    assert left(tmp_path) == {"notes.md"}


def test_runs_are_no_sides_for_their_names(tmp_path: Path) -> None:
    """Two runs that were named a and b outlive a run in their parent; a comparison there is refused."""
    runs = {"a/run.json", "b/run.json"}
    put(tmp_path / "run.json", *(tmp_path / name for name in runs))
    ResultsFolder(tmp_path).clean()
    assert left(tmp_path) == runs
    with pytest.raises(InputError, match="/a: holds a run that is no part of a comparison; choose another folder"):
        ResultsFolder(tmp_path).require_no_other_sides()


def test_the_verdict_on_a_node_goes(tmp_path: Path) -> None:
    """With the runs all at once; those of each device alone are runs of their own, and a folder's name is no node."""
    put(*(tmp_path / name for name in ("node.json", "report.md", "together/cuda-0/run.json", "cuda-0/run.json")))
    assert ResultsFolder(tmp_path).clean()
    assert left(tmp_path) == {"cuda-0/run.json"}
    put(tmp_path / "run.json", tmp_path / "together" / "run.json")
    assert ResultsFolder(tmp_path).clean()
    assert left(tmp_path) == {"cuda-0/run.json", "together/run.json"}


def test_a_folder_is_one_commands_at_a_time(tmp_path: Path) -> None:
    """A second one is told so before it removes anything; afterwards the folder is free, and gone if it is empty."""
    put(tmp_path / "run" / "run.json")
    said = "/run: another command is writing there; name another folder"
    run = ResultsFolder(tmp_path / "run")
    with run.claimed(), pytest.raises(InputError, match=said), run.claimed():
        pytest.fail("two commands in one folder")
    with run.claimed() as folder:
        assert left(folder.path) == {"run.json"}
    with pytest.raises(InputError, match="refused"), ResultsFolder(tmp_path / "new").claimed():
        raise InputError("refused")
    assert not (tmp_path / "new").exists()


def test_outputs_of_reports_go_too(tmp_path: Path) -> None:
    """A folder that knows of more outputs removes them as well, and nothing without a run beside it."""
    put(tmp_path / "run" / "run.json", tmp_path / "run" / "report.html", tmp_path / "none" / "report.html")
    for name in ("run", "none"):
        ResultsFolder(tmp_path / name, ["report.html"]).clean()
    assert (left(tmp_path / "run"), left(tmp_path / "none")) == (set(), {"report.html"})


def test_two_commands_in_one_second_have_a_folder_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second takes another name, and the link leads to it."""
    monkeypatch.chdir(tmp_path)
    now = ResultsFolder.of_now()
    with now.claimed() as first, now.claimed() as second:
        assert second.path.name == f"{first.path.name}-2"
        second.point_latest_here()
    assert (tmp_path / "results" / "latest").readlink() == Path(second.path.name)


DIGEST = "docker:localhost:5000/trainer@sha256:" + "0123456789abcdef" * 4


def test_a_step_of_a_search_has_a_folder_whatever_its_environment_is_called() -> None:
    """One name of a folder for each, safe on any file system, the version of a release as it is."""
    named = step_folders(
        (
            "torch==2.14.0+cpu",
            ".",
            "docker:trainer:2025-03",
            "docker:trainer-2025:03",
            "docker:Trainer:2025:03",
            DIGEST,
            "python:/opt/../a b/bin/python",
            f"python:/{'x' * 300}",
        )
    )
    assert list(named.values())[:6] == [
        "2.14.0+cpu",
        "this-interpreter",
        "docker-trainer-2025-03",
        "docker-trainer-2025-03-2",
        "docker-Trainer-2025-03-3",
        "docker-localhost-5000-trainer-sha256-" + "0123456789abcdef" * 4,
    ]
    assert named["python:/opt/../a b/bin/python"] == "python-opt-..-a-b-bin-python"
    for environment, name in named.items():
        assert len(name) < 200
        assert is_step_folder(name, environment)


@pytest.mark.parametrize(
    ("name", "environment"),
    [("mine", "mine"), ("..", "torch==.."), ("mine", "docker:mine"), ("../2.6.0", "torch==2.6.0"), ("", "torch==")],
)
def test_no_other_folder_is_one_of_a_step(name: str, environment: str) -> None:
    """An answer that was edited by hand leads to no folder of the user's."""
    assert not is_step_folder(name, environment)
