"""The kit's contents: sources by git's list, wheels by the hashed lock, data sets as far as there is room."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "bench.txt"
#: The most that the packed kit may have.
MAX_BYTES = 40 << 20
#: What of the checkout goes along.
SOURCES = ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "suite", "tests", "baselines", "examples")
#: Packages that a GPU host must have: the largest, and those that fit its driver.
LEFT_OUT = re.compile(
    r"torch|torchvision|triton|nvidia-(?!ml-py)|cuda-|numpy|scipy|scikit-learn|matplotlib|pillow|sympy|mpmath|networkx|"
    r"fsspec|filelock|joblib|threadpoolctl|cloudpickle|contourpy|cycler|fonttools|kiwisolver|pyparsing|python-dateutil|"
    r"six|tzdata|setuptools"
)
#: C libraries that such a host may have, the newest last.
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
#: Data sets, the smallest first, as torchvision names their folders.
DATA = ("MNIST", "FashionMNIST")


class KitError(Exception):
    """The kit can't be made; the message is one line with the fix."""


@dataclass(frozen=True)
class Kit:
    """A kit: its folder, the archive of it, and what it has."""

    folder: Path
    archive: Path
    wheels: tuple[str, ...]
    data: tuple[str, ...]
    #: Data sets that were given and did not fit.
    too_large: tuple[str, ...]
    python: str

    def lines(self) -> Iterator[str]:
        """Yields what the kit has, its size, and what to do with it."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        loose, packed = sum(path.stat().st_size for path in files), self.archive.stat().st_size
        yield f"{len(self.wheels)} wheels for Python {self.python}: {', '.join(self.wheels)}"
        yield f"data sets: {', '.join(self.data) or 'none'}"
        for name in self.too_large:
            yield f"{name} is left out: the kit would have more than {MAX_BYTES >> 20} MiB"
        yield f"{self.folder}: {loose / (1 << 20):.1f} MiB in {len(files)} files"
        yield f"{self.archive}: {packed / (1 << 20):.1f} MiB"
        yield f"there: tar xzf {self.archive.name} && sh {self.folder.name}/run.sh"


def make(folder: Path, *, python: str = "3.12", data: Path | None = None, max_bytes: int = MAX_BYTES) -> Kit:
    """Makes the kit in `folder`, which is replaced, and packs it beside it; raises KitError."""
    if not re.fullmatch(r"3\.\d+", python):
        raise KitError(f"--python {python}: name a minor version, such as 3.12")
    if folder.exists() and not (folder / "run.sh").exists() and any(folder.iterdir()):
        raise KitError(f"{folder}: is no kit; name another folder with --out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sources():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target)
    for name in ("run.sh", "install.py"):
        shutil.copy2(ROOT / "tests" / "gpu_kit" / name, folder / name)
    wheels = download(folder / "wheels", python)
    fitting, too_large = _add_data(folder, data, max_bytes)
    archive = _pack(folder)
    if archive.stat().st_size > max_bytes:
        raise KitError(f"{archive}: has more than {max_bytes >> 20} MiB; leave --data out")
    return Kit(folder, archive, wheels, fitting, too_large, python)


def sources() -> list[Path]:
    """Returns the files of SOURCES that git knows, or all that are there if this is no checkout."""
    try:
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *SOURCES]
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        found = [
            path
            for name in SOURCES
            for path in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"))
        ]
        listed = [str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts]
    return [Path(name) for name in listed if name and (ROOT / name).is_file()]


def requirements(lock: str) -> str:
    """Returns the lock's entries, with their hashes, of what is carried along."""
    entries = re.split(r"\n(?=[a-z0-9])", lock)
    named = ((re.match(r"[a-z0-9._-]+(?===)", entry), entry) for entry in entries)
    return "\n".join(entry for name, entry in named if name and not LEFT_OUT.match(name[0]))


def download(folder: Path, python: str) -> tuple[str, ...]:
    """Downloads wheels for a Python of x86-64 by their hashes; returns names and versions."""
    folder.mkdir()
    listed = folder / "requirements.txt"
    listed.write_text(requirements(LOCK.read_text(encoding="utf-8")), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    command += [f"--platform={one}" for one in PLATFORMS]
    done = subprocess.run(
        [*command, "--dest", str(folder), "-r", str(listed)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no reason given"]
        raise KitError(f"pip downloads no wheels for Python {python}: {said[-1]}; is a package index reachable?")
    found = sorted(path.name for path in folder.glob("*.whl"))
    return tuple(" ".join(name.split("-")[:2]) for name in found)


def _add_data(folder: Path, data: Path | None, max_bytes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copies the archives of the data sets that fit; returns the names of those, and of those that do not."""
    fitting, too_large = [], []
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    for name in DATA if data is not None else ():
        assert data is not None
        archives = sorted((data / name / "raw").glob("*.gz"))
        size = sum(path.stat().st_size for path in archives)
        if not archives:
            continue
        if used + size > max_bytes:
            too_large.append(name)
            continue
        target = folder / "data" / name / "raw"
        target.mkdir(parents=True)
        for path in archives:
            shutil.copy2(path, target)
        used += size
        fitting.append(name)
    return tuple(fitting), tuple(too_large)


def _pack(folder: Path) -> Path:
    archive = folder.with_name(f"{folder.name}.tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    return archive
