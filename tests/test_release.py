"""Virtual environments of a release of torch, made by the real pip from an index that is a folder."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from bnsuite.launch.environments import parse
from bnsuite.launch.environments.release import Release, cause
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.launch.process.worker import Worker
from bnsuite.launch.queries import ask_environment
from bnsuite.record.errors import InputError
from bnsuite.record.package_index import PackageIndex
from conftest import make_run
from index_server import serving


def wheel(folder: Path, version: str) -> None:
    """A package that is named torch, small."""
    info = f"torch-{version}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as file:
        file.writestr("torch.py", f"__version__ = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"torch.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.fixture
def cache(package_index: Path, tmp_path: Path) -> Path:
    """Where the environments are kept, beside an index that has two releases."""
    for version in ("2.4.7", "2.5.9"):
        wheel(package_index, version)
    return tmp_path / "cache" / "bnsuite" / "environments"


def key(version: str) -> str:
    return f"{version}-{sys.implementation.cache_tag}-{os.uname().machine}"


def test_a_release_is_made_once_under_a_lock(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two makers one waits; what an interrupted making left is not used; then no index is needed."""
    monkeypatch.setenv("PYTHONPATH", str(cache))  # what is there must not count as installed
    (cache / f"{key('2.4.7')}.part" / "bin").mkdir(parents=True)
    (cache / f"{key('2.4.7')}.part" / "bin" / "python").write_text("half of it")
    (cache / "torch-2.4.7.dist-info").mkdir()
    (cache / "torch-2.4.7.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.4.7\n")
    told: list[str] = []
    other = threading.Thread(target=parse("torch==2.4.7").prepare, args=(told.append,))
    other.start()
    parse("torch==2.4.7").prepare(told.append)
    other.join()
    assert sum(words == "making a virtual environment with torch==2.4.7, once" for words in told) == 1
    assert (cache / key("2.4.7") / "bin" / "python").exists()
    (installed,) = (cache / key("2.4.7")).glob("lib/*/site-packages/torch.py")
    assert "2.4.7" in installed.read_text()
    assert not list(cache.glob("*.part"))
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    parse("torch==2.4.7").prepare()


def test_a_maker_waits_for_another_process(cache: Path) -> None:
    """Whoever holds the lock is waited for, and what it made is used."""
    cache.mkdir(parents=True)
    heard = threading.Event()
    site = parse("torch==2.5.9")

    def notify(words: str) -> None:
        assert "just being made by another process" in words
        heard.set()

    with (cache / f"{key('2.5.9')}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=site.prepare, args=(notify,))
        waiting.start()
        assert heard.wait(20)
        made = cache / key("2.5.9") / "bin" / "python"
        made.parent.mkdir(parents=True)
        made.symlink_to(sys.executable)
    waiting.join(20)
    assert not waiting.is_alive()


@pytest.mark.parametrize("found", ["2.5.9", "2.5.9+cpu", "2.5.9+cu130"])
def test_the_release_that_was_found_is_the_one_that_was_named(cache: Path, found: str) -> None:
    """Whatever it was built for; a folder that holds another one is named, with the mend."""
    environment = make_run().environment
    parse("torch==2.5.9").check(environment.model_copy(update={"packages": {"torch": found}}))
    parse("torch==2.5").check(environment.model_copy(update={"packages": {"torch": "2.5.0"}}))
    with pytest.raises(InputError, match=rf"^torch==2\.5\.9: {cache}/2\.5\.9\S+ holds torch 2\.6\.0; remove {cache}"):
        parse("torch==2.5.9").check(environment.model_copy(update={"packages": {"torch": "2.6.0"}}))


def test_a_release_that_was_taken_apart_is_told_with_the_mend(cache: Path, tmp_path: Path) -> None:
    """Users may remove it at any time, and may be interrupted in it."""
    site = parse("torch==2.5.9")
    folder = cache / key("2.5.9")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (folder / "bin" / "python").chmod(0o755)
    site.prepare()
    worker = Worker(WorkerOptions("worker", tmp_path, tmp_path), site)
    with pytest.raises(InputError, match=f"torch is not installed there; remove {folder}, and it is made anew$"):
        ask_environment("cpu", worker)


def test_an_index_has_folders_of_its_own(cache: Path) -> None:
    """Two may have different builds of one version; users and passwords are no part of it, and in no name."""

    def folder(index: PackageIndex | None) -> str:
        return Path(parse("torch==2.5.9", index)._path).name

    plain, password = "https://example.org/cpu", "https://me:secret@example.org/cpu"
    several = (None, plain, "https://example.org/cu130", password.replace("secret", "changed"), password)
    names = [folder(None if url is None else PackageIndex(url=url)) for url in several]
    assert names[0] == key("2.5.9")
    assert names[1] == names[3] == names[4]
    assert len(set(names)) == 3
    assert len({folder(PackageIndex(url=plain, extra_urls=(plain,))), folder(PackageIndex(url=plain, pre=True))}) == 2
    assert not any("secret" in name or "me" in name for name in names)


def test_nightly_builds_are_told_apart(cache: Path) -> None:
    """By the date, and not by the numbers of the release that they lead to alone."""
    environment = make_run().environment
    nightly = parse("torch==2.15.0.dev20261101")
    nightly.check(environment.model_copy(update={"packages": {"torch": "2.15.0.dev20261101+cpu"}}))
    with pytest.raises(InputError, match=r"holds torch 2\.15\.0\.dev20261102\+cpu; remove"):
        nightly.check(environment.model_copy(update={"packages": {"torch": "2.15.0.dev20261102+cpu"}}))


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(text).prepare()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_release_that_the_index_does_not_have_is_told(cache: Path) -> None:
    """With those that it has; nothing is left behind but the lock."""
    said = refused("torch==2.99.0")
    assert said.startswith("torch==2.99.0: the package index has no such release for Python ")
    assert said.endswith(", it has 2.4.7, 2.5.9; choose one of these")
    assert [path.name for path in cache.iterdir()] == [f"{key('2.99.0')}.lock"]


def test_an_index_that_cannot_be_reached_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    assert refused("torch==2.5.9").startswith("torch==2.5.9: the package index can't be reached; connect ")


@pytest.mark.slow
def test_an_index_that_refuses_access_is_told(
    cache: Path, package_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line without the password; pip itself says that there is no torch."""
    monkeypatch.delenv("PIP_FIND_LINKS")
    with serving(package_index, user="me:secret") as url, pytest.raises(InputError) as caught:
        parse("torch==2.5.9", PackageIndex(url=url.replace("secret", "hidden"))).prepare()
    assert str(caught.value).startswith("torch==2.5.9: the package index refuses access; check its address, and name ")
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert refused("torch==2.5.9").endswith("make it writable, or set XDG_CACHE_HOME to another folder")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("torch==1.13.1", "torch==1.13.1: what is judged must be torch 2.4 or newer"),
        ("torch==2.3.0+cpu", "torch==2.3.0+cpu: what is judged must be torch 2.4 or newer"),
        ("torch==2", "torch==2: '2' is no release of torch; write it like "),
        ("torch==../../etc", "torch==../../etc: '../../etc' is no release of torch; "),
    ],
)
def test_what_is_no_release_to_be_judged_is_told(text: str, said: str) -> None:
    """Before anything is made."""
    with pytest.raises(InputError) as caught:
        parse(text)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("version", ["2.4.0", "2.10.1+cu128", "2.6.0rc1", "2.9.0.dev20250801+cpu", "2.5"])
def test_releases_are_understood(version: str) -> None:
    assert isinstance(parse(f"torch=={version}"), Release)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
            "no space is left in /cache or in TMPDIR; free some, or set XDG_CACHE_HOME and TMPDIR",
        ),
        (
            "The virtual environment was not created successfully because ensurepip is not\navailable.",
            f"{sys.executable} can't make virtual environments; apt install python3-venv",
        ),
        (
            """
            ERROR: Could not find a version that satisfies the requirement sympy>=1.13 (from versions: none)
            ERROR: No matching distribution found for sympy>=1.13
            """,
            "pip can't install it: No matching distribution found for sympy>=1.13",
        ),
        ("", "pip can't install it: it said nothing"),
    ],
)
def test_what_pip_says_is_told_in_one_line(said: str, means: str) -> None:
    assert cause(said, Path("/cache")) == means
