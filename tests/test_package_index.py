"""The releases that the package index has, by the real pip from an index that is a folder."""

from __future__ import annotations

import platform
import sys
import zipfile
from pathlib import Path

import pytest

from bnsuite.launch.environments.package_index import between, cause, named, parse, releases
from bnsuite.record.errors import InputError
from bnsuite.record.package_index import PackageIndex, text_without_secrets
from index_server import serving

PRINTED = """torch (2.14.1)
Available versions: 2.15.0rc1, 2.14.1, 2.14.0, 2.13.0+cpu, 2.13.0, 2.12.1.dev20250801+cpu, 2.12.0, 2.4.0, 1.13.1
  INSTALLED: 2.14.1
  LATEST:    2.14.1
"""
KNOWN = ["1.13.1", "2.4.0", "2.12.0", "2.13.0", "2.13.0+cpu", "2.14.0", "2.14.1"]


def test_what_pip_prints_is_read() -> None:
    """Oldest first, without what is not yet a release."""
    assert parse(PRINTED) == KNOWN
    with_nightlies = [*KNOWN[:2], "2.12.0", "2.12.1.dev20250801+cpu", *KNOWN[3:], "2.15.0rc1"]
    assert parse(PRINTED, pre=True) == with_nightlies
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


NIGHTLIES = [
    "2.14.0.dev20260930+cpu",
    "2.14.0",
    "2.14.1",
    "2.15.0.dev20261001+cpu",
    "2.15.0.dev20261002+cpu",
    "2.15.0.dev20261002+cu130",
    "2.15.0.dev20261004+cpu",
    "2.15.0rc1",
]


@pytest.mark.parametrize(
    ("good", "bad", "chosen"),
    [
        ("2.14.0.dev20260930", "2.15.0.dev20261004", ["2.15.0.dev20261001+cpu", "2.15.0.dev20261002+cpu"]),
        ("2.15.0.dev20261001+cpu", "2.15.0.dev20261004+cpu", ["2.15.0.dev20261002+cpu"]),
        ("2.14.0", "2.15.0.dev20261002", ["2.14.1", "2.15.0.dev20261001+cpu"]),
        ("2.15.0.dev20261002", "2.15.0rc1", ["2.15.0.dev20261004+cpu"]),
    ],
)
def test_nightly_builds_are_in_the_order_of_their_dates(good: str, bad: str, chosen: list[str]) -> None:
    """Between two of them there is no release; with a release at an end all that the index has are candidates."""
    assert between(NIGHTLIES, good, bad) == [good, *chosen, bad]


def test_a_night_without_a_build_is_told_with_those_next_to_it() -> None:
    known = [f"2.15.0.dev2026{month}{day:02}" for month in (10, 11) for day in range(1, 29) if day != 9]
    with pytest.raises(InputError) as caught:
        between(known, "2.15.0.dev20261009", "2.15.0.dev20261128")
    days = ", ".join(f"2.15.0.dev202610{day:02}" for day in (5, 6, 7, 8, 10, 11, 12, 13))
    assert f"has no such release for Python {platform.python_version()}" in str(caught.value)
    assert str(caught.value).endswith(f", it has {days}; choose one of these")


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


def wheel(folder: Path, version: str, files: dict[str, str], tag: str = "py3-none-any") -> None:
    """A package that is named torch and has these files, for the interpreters of `tag`."""
    info = f"torch-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    with zipfile.ZipFile(folder / f"torch-{version}-{tag}.whl", "w") as file:
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


def test_an_index_that_is_named_is_asked(index: Path, tmp_path: Path) -> None:
    """In place of the one that pip is set up for; pre-releases and builds for other Pythons only where they count."""
    wheel(index, "2.4.0", {})
    (tmp_path / "nightly").mkdir()
    for version in (
        "2.15.0.dev20261002+cpu",
        "2.15.0.dev20261001+cpu",
        "2.14.1",
        "2.15.0.dev20260930+cpu",
        "2.15.0rc1",
    ):
        wheel(tmp_path / "nightly", version, {})
    wheel(tmp_path / "nightly", "2.15.0.dev20261003+cpu", {}, "cp27-cp27m-any")
    with pytest.MonkeyPatch.context() as patch, serving(tmp_path / "nightly") as url:
        patch.delenv("PIP_FIND_LINKS")
        assert releases(PackageIndex(url=url, pre=True)) == [
            "2.14.1",
            "2.15.0.dev20260930+cpu",
            "2.15.0.dev20261001+cpu",
            "2.15.0.dev20261002+cpu",
            "2.15.0rc1",
        ]
        assert releases(PackageIndex(url=f"{url}/none", extra_urls=(url,))) == ["2.14.1"]


def test_an_index_with_a_password_is_told_without_it(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With it releases are listed; with a wrong one the refusal is a line."""
    monkeypatch.delenv("PIP_FIND_LINKS")
    wheel(index, "2.4.0", {})
    with serving(index, user="me:secret") as url:
        assert releases(PackageIndex(url=url)) == ["2.4.0"]
        with pytest.raises(InputError) as caught:
            releases(PackageIndex(url=url.replace("secret", "hidden")))
    assert str(caught.value).startswith(
        "pip index versions torch: the package index refuses access; check its address, "
    )
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "recorded"),
    [
        ("https://me:se%40cret@example.org:8443/simple", "https://example.org:8443/simple"),
        ("https://token@example.org/simple?key=secret#secret", "https://example.org/simple"),
        ("https://me:se@cret@example.org/simple", "https://example.org/simple"),
        ("file:///srv/index", "file:///srv/index"),
    ],
)
def test_what_is_secret_in_an_address_is_not_recorded(url: str, recorded: str) -> None:
    """Nor shown, whatever pip says of it."""
    index = PackageIndex(url=url, extra_urls=(url,))
    assert index.without_secrets() == PackageIndex(url=recorded, extra_urls=(recorded,))
    said = text_without_secrets(f"Looking in {url}/torch/, and in https://who:what@example.net/x", index)
    assert said == f"Looking in {recorded}/torch/, and in https://example.net/x"
