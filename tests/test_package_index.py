"""The releases that the package index has, by the real pip from an index that is a folder."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from bnsuite.launch.environments.package_index import between, cause, named, parse, releases
from bnsuite.record.errors import InputError

PRINTED = """torch (2.14.1)
Available versions: 2.15.0rc1, 2.14.1, 2.14.0, 2.13.0+cpu, 2.13.0, 2.12.1.dev20250801+cpu, 2.12.0, 2.4.0, 1.13.1
  INSTALLED: 2.14.1
  LATEST:    2.14.1
"""
KNOWN = ["1.13.1", "2.4.0", "2.12.0", "2.13.0", "2.13.0+cpu", "2.14.0", "2.14.1"]


def test_what_pip_prints_is_read() -> None:
    """Oldest first, without what is not yet a release."""
    assert parse(PRINTED) == KNOWN
    assert parse("ERROR: nothing") == []


@pytest.mark.parametrize(
    ("good", "bad", "chosen"),
    [
        ("2.12.0", "2.14.1", ["2.12.0", "2.13.0", "2.14.0", "2.14.1"]),
        ("2.12.0", "2.13.0+cpu", ["2.12.0", "2.13.0+cpu"]),
        ("2.13.0+cpu", "2.14.1", ["2.13.0+cpu", "2.14.0", "2.14.1"]),
        ("2.4", "2.13", ["2.4", "2.12.0", "2.13"]),
    ],
)
def test_of_several_builds_of_a_release_there_is_one(good: str, bad: str, chosen: list[str]) -> None:
    assert between(KNOWN, good, bad) == chosen


def test_an_index_of_one_kind_of_builds_is_taken_as_it_is() -> None:
    """As that of pytorch.org: every version has a label, and the ends say which is wanted."""
    known = ["2.11.0+cpu", "2.12.0+cpu", "2.12.0+cu130", "2.13.0+cpu"]
    assert between(known, "2.11.0", "2.13.0") == ["2.11.0", "2.12.0+cpu", "2.13.0"]
    labelled = [*known, "2.11.0+cu130", "2.13.0+cu130"]
    assert between(labelled, "2.11.0+cu130", "2.13.0+cu130")[1] == "2.12.0+cu130"


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("2.14.1", "2.12.0", "--good torch==2.14.1: is not older than --bad torch==2.12.0; name the older one as good"),
        ("2.13.0", "2.13.0+cpu", "--good torch==2.13.0: is not older than --bad torch==2.13.0+cpu"),
        ("2.11.0", "2.14.1", "--good torch==2.11.0: the package index has no such release for Python "),
        ("2.12.0", "2.14.0+cpu", "--bad torch==2.14.0+cpu: the package index has no such release"),
        ("2.12.0", "2.99.0", ", it has 1.13.1, 2.4.0, 2.12.0, 2.13.0, 2.13.0+cpu, 2.14.0, 2.14.1; choose one of these"),
    ],
)
def test_ends_that_are_none_are_told(good: str, bad: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        between(KNOWN, good, bad)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["python:/usr/bin/python3", "docker:image", ".", "2.13.0", "torch==", "torch==newest"])
def test_only_releases_are_bisected(text: str) -> None:
    with pytest.raises(InputError) as caught:
        named("--good", text)
    assert str(caught.value).startswith(f"--good {text}: is no release of torch; write ")


@pytest.mark.parametrize("version", ["2.6.0rc1", "2.9.0.dev20250801+cpu", "2.9.0a1"])
def test_a_pre_release_is_no_release(version: str) -> None:
    with pytest.raises(InputError, match="is a pre-release, and only releases are bisected"):
        named("--bad", f"torch=={version}")


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("/usr/bin/python3: No module named pip", f"{sys.executable} has no pip; install it with "),
        ('ERROR: unknown command "index"', f"the pip of {sys.executable} is older than 21.2; "),
        ("WARNING: Retrying ... after connection broken by 'NewConnectionError", "the package index can't be reached;"),
        ("ERROR: the disk\nERROR: is full\n", "pip fails: is full; see `"),
        ("", "pip fails: it said nothing; see `"),
    ],
)
def test_why_pip_can_not_list_is_told_in_one_line(said: str, means: str) -> None:
    assert cause(said).startswith(means)


def wheel(folder: Path, version: str, files: dict[str, str]) -> None:
    """A package that is named torch and has these files."""
    info = f"torch-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
        file.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD")))


@pytest.fixture
def index(package_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The index, seen from a working folder of one's own."""
    monkeypatch.chdir(tmp_path)
    return package_index


def test_the_index_is_asked_by_the_real_pip(index: Path) -> None:
    for version in ("2.10.0", "2.9.1", "2.11.0rc1", "2.10.0+cpu", "2.4.0"):
        wheel(index, version, {})
    assert releases() == ["2.4.0", "2.9.1", "2.10.0", "2.10.0+cpu"]


def test_an_index_without_torch_is_told(index: Path) -> None:
    with pytest.raises(
        InputError, match=r"^pip index versions torch: the package index has no torch for Python "
    ) as it:
        releases()
    assert "\n" not in str(it.value)


def test_an_index_that_can_not_be_reached_is_told(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(InputError, match="pip index versions torch: the package index can't be reached; connect this "):
        releases()
