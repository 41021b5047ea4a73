"""`make gpu-kit`: what is carried, and that it installs without network beside what a host has; the wheels are real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import ROOT
from gpu_kit.make import LEFT_OUT, LOCK, KitError, make, requirements, sources

#: What a check in the kit's environment finds of packages, and where.
PROBE = """
import importlib, json, os, sys
found = {}
for name in ("pydantic", "tabulate", "bnsuite", "annotated_types"):
    try:
        found[name] = importlib.import_module(name).__file__
    except ImportError:
        found[name] = None
print(json.dumps({"argv": sys.argv[1:], "files": found, "data": os.environ.get("BNSUITE_DATA")}))
"""
CARRIED = (
    "packaging",
    "tabulate",
    "pydantic",
    "pydantic-core",
    "annotated-types",
    "typing-extensions",
    "typing-inspection",
)


def test_the_sources_are_enough_for_the_check() -> None:
    """The package, the tests with the check and the GPU's tests, the baselines; and nothing that is made."""
    names = {str(path) for path in sources()}
    assert {"pyproject.toml", "tests/gpu_check/__main__.py", "tests/test_gpu.py", "tests/loops.py"} <= names
    assert {"suite/bnsuite/__init__.py", "baselines/pins.json"} <= names
    assert not any("__pycache__" in name or name.startswith((".venv", "results")) for name in names)


def test_the_wheels_are_those_of_the_lock_without_torch() -> None:
    """Each with its hashes; whatever a carried package needs is carried too, or must be there with torch."""
    listed = requirements(LOCK.read_text(encoding="utf-8"))
    entries = re.split(r"\n(?=[a-z0-9])", listed)
    names = {entry.split("==")[0] for entry in entries}
    assert all("--hash=sha256:" in entry for entry in entries)
    assert {"pydantic", "pydantic-core", "click", "docker", "jinja2", "pytest-benchmark", "nvidia-ml-py"} <= names
    assert not {"torch", "torchvision", "numpy", "triton", "nvidia-cudnn-cu13", "cuda-bindings"} & names
    for name in names - {"tomli", "exceptiongroup"}:  # of Python 3.10 only
        for one in map(Requirement, requires(name) or ()):
            if one.marker is None or one.marker.evaluate({"extra": "", "python_version": "3.12"}):
                needed = canonicalize_name(one.name)
                assert needed in names or LEFT_OUT.match(needed), (name, needed)


@pytest.mark.parametrize("python", ["3", "3.12.1", "three"])
def test_a_wrong_python_is_refused(tmp_path: Path, python: str) -> None:
    """Before anything is made."""
    with pytest.raises(KitError, match=r"name a minor version, such as 3\.12"):
        make(tmp_path / "kit", python=python)


def test_a_folder_that_is_no_kit_is_left_alone(tmp_path: Path) -> None:
    """A kit is replaced, somebody's files are not."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(KitError, match="is no kit"):
        make(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit whose check only looks; its wheels are this interpreter's packages, packed again."""
    folder = tmp_path / "kit"
    (folder / "wheels").mkdir(parents=True)
    (folder / "tests" / "gpu_check").mkdir(parents=True)
    (folder / "data").mkdir()
    for name in ("run.sh", "install.py"):
        shutil.copy(ROOT / "tests" / "gpu_kit" / name, folder)
    (folder / "pyproject.toml").write_text(
        '[project]\ndependencies = [\n  "torch>=2.4",\n  "pydantic>=2.7",\n  "tabulate>=0.9",\n]\n'
    )
    (folder / "tests" / "gpu_check" / "__main__.py").write_text(PROBE)
    (folder / "suite").symlink_to(ROOT / "suite")
    for name in CARRIED:
        package = distribution(name)
        wheel = folder / "wheels" / f"{name.replace('-', '_')}-{package.version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as packed:
            for file in package.files or ():
                if ".." not in file.parts and file.suffix != ".pyc":
                    packed.write(file.locate(), str(file))
    return folder


@pytest.fixture
def host(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A Python with nothing but a torch's entry and an old tabulate, and its variables: no index is reached from it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "host"], check=True)
    (packages,) = (tmp_path / "host" / "lib").glob("python*/site-packages")
    for name, version in (("torch", "2.11.0+cu130"), ("tabulate", "0.9.0")):
        (packages / f"{name}-{version}.dist-info").mkdir()
        (packages / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (packages / "tabulate.py").write_text("")
    variables = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "BNSUITE_DATA"}}
    return tmp_path / "host" / "bin" / "python", {**variables, "PYTHON": str(tmp_path / "host" / "bin" / "python")}


def run(kit: Path, host: tuple[Path, dict[str, str]], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", kit / "run.sh", *arguments], env=host[1], cwd=kit.parent, capture_output=True, text=True, check=False
    )


def test_what_the_host_lacks_comes_from_the_kit(kit: Path, host: tuple[Path, dict[str, str]]) -> None:
    """Pydantic with what it needs; what the host has, it keeps; bnsuite is found where the kit lies."""
    done = run(kit, host, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    report = json_of(done.stdout)
    inside = str(kit / "environment")
    assert report["files"]["pydantic"].startswith(inside)
    assert report["files"]["annotated_types"].startswith(inside)
    assert report["files"]["tabulate"].startswith(str(kit.parent / "host"))
    assert report["files"]["bnsuite"] == str(kit / "suite" / "bnsuite" / "__init__.py")
    assert report["argv"] == ["--device", "cpu", "--out", str(kit.parent / "gpu-check-1")]
    assert report["data"] == str(kit / "data")
    assert "torch 2.11.0+cu130" in done.stdout


def test_without_venv_a_folder_on_the_path_stands_in(kit: Path, host: tuple[Path, dict[str, str]]) -> None:
    """As where a distribution leaves the module out."""
    blocked = kit.parent / "blocked"
    blocked.mkdir()
    (blocked / "venv.py").write_text("raise ImportError('no module venv here')")
    done = run(kit, (host[0], {**host[1], "PYTHONPATH": str(blocked)}))
    assert done.returncode == 0, done.stderr
    assert "no virtual environment can be made (no module venv here)" in done.stdout
    assert json_of(done.stdout)["files"]["pydantic"].startswith(str(kit / "environment" / "packages"))


def test_what_is_missing_is_one_line(kit: Path, host: tuple[Path, dict[str, str]]) -> None:
    """A package that neither has, and a Python without torch."""
    for wheel in (kit / "wheels").glob("annotated_types-*"):
        wheel.unlink()
    done = run(kit, host)
    assert done.returncode == 1
    assert "lacks annotated-types, and the kit carries none" in done.stderr
    assert done.stderr.count("\n") == 1
    (packages,) = (kit.parent / "host" / "lib").glob("python*/site-packages")
    shutil.rmtree(packages / "torch-2.11.0+cu130.dist-info")
    done = run(kit, host)
    assert "has no torch, and the kit carries none; name another with PYTHON=..." in done.stderr


def json_of(output: str) -> dict[str, dict[str, str]]:
    """Returns what the check of the kit printed."""
    found: dict[str, dict[str, str]] = json.loads(output.splitlines()[-1])
    return found
