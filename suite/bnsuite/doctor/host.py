"""The host as checks see it: files below a root folder and a few functions, so that a test can hand in another."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import Lock

from bnsuite.launch.environments import engine
from bnsuite.launch.environments.engine import EngineFacts
from bnsuite.launch.process.isolation import cores
from bnsuite.launch.process.messages import GpuAnswer, KernelAnswer

#: No file of the kernel that is read here is longer; a longer one is cut off.
MAX_BYTES = 1 << 20
#: The limits of the slow probes: together with the start of a process they stay within five seconds.
GPU_S, ENGINE_S = 3.5, 1.5
#: The limit of a first kernel, where there is a GPU: torch is imported and CUDA starts, on a cold machine.
KERNEL_S = 9.0


class CannotLookError(Exception):
    """A check that found nothing to look at; the message is the cause in one line."""


@dataclass(frozen=True)
class Room:
    """The room that a folder has for this user; `inodes` is None where the file system counts none."""

    free_bytes: int
    inodes: int | None
    writable: bool
    #: Whether files there may be run and loaded, as compiled code is.
    executable: bool = True


@dataclass(frozen=True)
class DoctorRequest:
    """The measurement that the host is checked for."""

    device: str = "auto"
    threads: int = 1
    #: Folders: results, the temporary files of measured processes, images, accepted references.
    results: Path = Path("results")
    scratch: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    data: Path = Path("data")
    baselines: Path = Path("baselines")


@dataclass(frozen=True)
class TorchPackage:
    """The installed torch: its version, and the version of CUDA that it was built with (None: a CPU build)."""

    version: str
    cuda: str | None


def room(folder: Path) -> Room:
    """Returns the room of a folder, or of the nearest one above it that exists."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    found = os.statvfs(folder)
    inodes = found.f_favail if found.f_files else None
    executable = not found.f_flag & os.ST_NOEXEC
    return Room(found.f_bavail * found.f_frsize, inodes, os.access(folder, os.W_OK | os.X_OK), executable)


def torch_package() -> TorchPackage | None:
    """Returns the torch of this interpreter, without importing it; None if there is none."""
    try:
        package = distribution("torch")
    except PackageNotFoundError:
        return None
    try:
        text = Path(str(package.locate_file("torch/version.py"))).read_text(encoding="utf-8")
    except OSError as error:
        raise CannotLookError(f"torch/version.py: {error.strerror}") from error
    return TorchPackage(package.version, cuda_of(text))


def cuda_of(text: str) -> str | None:
    """Returns the CUDA version in the text of ``torch/version.py``; None for a build without it."""
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name.partition(":")[0].strip() == "cuda":
            value = value.strip().strip("'\"")
            return None if value == "None" else value
    return None


def _gpu_query() -> Callable[[int], GpuAnswer]:
    """Returns what asks NVML about a GPU in a child process; several checks that ask at once share one answer."""
    lock, answers = Lock(), dict[int, GpuAnswer]()

    def ask(index: int) -> GpuAnswer:
        from bnsuite.launch.queries import ask_gpu

        with lock:
            if index not in answers:
                answers[index] = ask_gpu(index, GPU_S)
            return answers[index]

    return ask


def _ask_kernel(device: str) -> KernelAnswer:
    from bnsuite.launch.queries import ask_kernel

    return ask_kernel(device, KERNEL_S)


@dataclass(frozen=True)
class Host:
    """A host: the folder its files are looked for in, what this process was given, and functions that ask for more."""

    root: Path = Path("/")
    #: The cores that this process may use, lowest first.
    cores: tuple[int, ...] = field(default_factory=lambda: tuple(cores()))
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    #: Seconds between two samples of a counter.
    window_s: float = 1.0
    wait: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    room: Callable[[Path], Room] = room
    engine: Callable[[], EngineFacts] = lambda: engine.facts(ENGINE_S)
    gpu: Callable[[int], GpuAnswer] = field(default_factory=_gpu_query)
    kernel: Callable[[str], KernelAnswer] = _ask_kernel
    torch: Callable[[], TorchPackage | None] = torch_package
    which: Callable[[str], str | None] = shutil.which

    def text(self, path: str) -> str | None:
        """Returns the beginning of a text file; None if there is no such file. Other errors are OSError."""
        try:
            with (self.root / path).open("rb") as file:
                return file.read(MAX_BYTES).decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def required(self, path: str) -> str:
        """Returns the same; CannotLookError if there is no such file."""
        found = self.text(path)
        if found is None:
            raise CannotLookError(f"there is no /{path}")
        return found

    def there(self, path: str) -> bool:
        """Returns True if something is at `path`."""
        return (self.root / path).exists()

    def names(self, folder: str, pattern: str) -> list[str]:
        """Returns the paths in `folder` that match a glob pattern, from the root; none if it can't be listed."""
        try:
            return sorted(str(path.relative_to(self.root)) for path in (self.root / folder).glob(pattern))
        except OSError:
            return []


def finite(text: str) -> float:
    """Returns a decimal number; CannotLookError for one that is not finite, ValueError for anything else."""
    number = float(text)
    if not math.isfinite(number):
        raise CannotLookError(f"{text!r} is no finite number")
    return number


def numbers(text: str) -> list[int]:
    """Returns the numbers of a list such as "0-2,5", as the kernel writes sets of cores and nodes."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if not 0 <= low <= high < 1 << 16:
            raise CannotLookError(f"{part!r} is no range of numbers")
        found += range(low, high + 1)
    return found


def fields(text: str) -> dict[str, int]:
    """Returns the numbers of a file with lines such as "nr_periods 12" or "MemFree: 12 kB"."""
    found = {}
    for line in text.splitlines():
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[1].isascii() and words[1].isdigit():
            found[words[0]] = int(words[1])
    return found
