"""Makes an environment from the kit and this Python's own packages, without network, and does the GPU check in it.

Started by run.sh on the GPU host. Only what the host lacks, or has too old, is taken from the kit. Needs the standard
library alone; ensurepip is not needed, and without ``venv`` a folder on PYTHONPATH stands in.
"""

from __future__ import annotations

import os
import re
import shutil
import site
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from email.parser import HeaderParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

KIT = Path(__file__).resolve().parent
#: Packages that a host must have itself, and those without which only some cases are left out.
NEEDED, USEFUL = ("torch",), ("torchvision", "scikit-learn", "scipy", "matplotlib")
OLDEST = (3, 10)


def main() -> None:
    """Makes the environment, says what it is made of, and becomes the check."""
    if sys.version_info < OLDEST:
        sys.exit(f"gpu-kit: needs Python 3.10 or newer; this is {sys.version.split()[0]}; name another with PYTHON=...")
    for name in (*NEEDED, *USEFUL):
        found = _version(name)
        if found is None and name in NEEDED:
            sys.exit(f"gpu-kit: {sys.executable} has no {name}, and the kit carries none; name another with PYTHON=...")
        print(f"{name} {found or 'is not installed here: cases that need it are left out'}")
    home = _home()
    taken = _chosen()
    python, environment = _environment(home, [_wheel(name) for name in taken])
    print(f"from the kit: {', '.join(taken) or 'nothing'}; environment: {home}", flush=True)
    if (KIT / "data").is_dir() and "BNSUITE_DATA" not in environment:
        environment["BNSUITE_DATA"] = str(KIT / "data")
    given = sys.argv[1:]
    if not any(one == "--out" or one.startswith("--out=") for one in given):
        given += ["--out", str(_results())]
    os.execve(python, [python, str(KIT / "tests" / "gpu_check"), *given], environment)  # noqa: S606  # no shell is meant


def _version(name: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(name)
    return None


def _home() -> Path:
    """A new folder for the environment: in the kit, or in the folder for temporary files if that can't be written."""
    try:
        home = KIT / "environment"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
    except OSError:
        home = Path(tempfile.mkdtemp(prefix="bnsuite-kit-"))
    return home


def _results() -> Path:
    """A folder of results beside where this was started."""
    here = Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path(tempfile.gettempdir())
    number = 1
    while (here / f"gpu-check-{number}").exists():
        number += 1
    return here / f"gpu-check-{number}"


def _wheel(name: str) -> Path:
    """The wheel of a package; exits if the kit has none."""
    plain = re.sub(r"[-_.]+", "_", name).lower()
    found = [
        path for path in (KIT / "wheels").glob("*.whl") if path.name.lower().split("-")[0].replace(".", "_") == plain
    ]
    if not found:
        sys.exit(f"gpu-kit: {sys.executable} lacks {name}, and the kit carries none; make it anew for this Python")
    return found[0]


def _required(metadata: str) -> Iterator[str]:
    yield from HeaderParser().parsestr(metadata).get_all("Requires-Dist") or ()


def _chosen() -> list[str]:
    """The packages to take from the kit: what bnsuite needs, and what that needs, as far as the host has it not."""
    sys.path.insert(0, str(_wheel("packaging")))
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    text = (KIT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert listed is not None, "pyproject.toml lists dependencies"
    queue = [Requirement(one) for one in re.findall(r'"([^"]+)"', listed[1])]
    queue = [one for one in queue if one.name not in (*NEEDED, *USEFUL)]
    taken: list[str] = []
    while queue:
        one = queue.pop()
        name = canonicalize_name(one.name)
        if name in taken or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        found = _version(one.name)
        if found is not None and one.specifier.contains(found, prereleases=True):
            continue
        taken.append(name)
        with zipfile.ZipFile(_wheel(name)) as wheel:
            metadata = next(path for path in wheel.namelist() if path.endswith(".dist-info/METADATA"))
            queue += map(Requirement, _required(wheel.read(metadata).decode()))
    return sorted(taken)


def _environment(home: Path, wheels: list[Path]) -> tuple[str, dict[str, str]]:
    """Makes the environment; returns its interpreter and the variables that it starts with."""
    variables = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    try:
        import venv

        venv.EnvBuilder(system_site_packages=True, with_pip=False, symlinks=True).create(home)
        python = home / "bin" / "python"
        (packages,) = (home / "lib").glob("python*/site-packages")
        # Made from another virtual environment it would see the packages of the interpreter behind that one only.
        seen = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
        own = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), *filter(os.path.isdir, seen)]
        lines = [str(KIT / "suite"), *map(os.path.abspath, filter(None, own))]
        (packages / "gpu-kit.pth").write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
    except (ImportError, OSError, ValueError) as error:
        print(f"no virtual environment can be made ({error}); a folder on PYTHONPATH stands in")
        python, packages = Path(sys.executable), home / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        path = [str(packages), str(KIT / "suite"), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables["PYTHONPATH"] = os.pathsep.join(path)
    for one in wheels:
        with zipfile.ZipFile(one) as wheel:
            wheel.extractall(packages)
    return str(python), variables


if __name__ == "__main__":
    main()
