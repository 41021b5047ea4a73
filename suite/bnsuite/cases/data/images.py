"""MNIST and Fashion-MNIST through torchvision: from the user's folder, or downloaded into it; md5-checked.

The folder has torchvision's layout, ``MNIST/raw/train-images-idx3-ubyte.gz`` and so on, and may be read-only.
torchvision's own extraction is not safe beside another process, so each process extracts for itself.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    import numpy as np

    #: Images (N, 28, 28) uint8 and labels (N,) int64: the training part, then the test part.
    Pictures: TypeAlias = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]

CLASSES = {"mnist": "MNIST", "fashion": "FashionMNIST"}

ARCHIVES = tuple(f"{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))

#: Seconds without an answer after which a server counts as unreachable.
DOWNLOAD_TIMEOUT_S = 20.0


class DataError(Exception):
    """A data set can't be had; the message says why and how to get it."""


def default_folder() -> Path:
    """Returns the folder of data sets where none is named."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnsuite"


def archives(name: str, folder: Path) -> bool:
    """Returns True if all archives of the data set `name` are in `folder`; they may be damaged.

    A folder that can't be read counts as complete: reading them raises then.
    """
    raw = folder / CLASSES[name] / "raw"
    try:
        return all((raw / archive).is_file() for archive in ARCHIVES)
    except PermissionError:
        return True


def pictures(name: str, folder: Path) -> Pictures:
    """The data set `name`, "mnist" or "fashion", from `folder`; downloaded if it is not there. Raises DataError.

    The result is cached, a failure as well: several data sets are made of one.
    """
    got = _try(name, folder)
    if isinstance(got, DataError):
        raise got
    return got


@lru_cache
def _try(name: str, folder: Path) -> Pictures | DataError:
    try:
        return _pictures(name, folder)
    except DataError as error:
        return error


def _pictures(name: str, folder: Path) -> Pictures:
    from http.client import HTTPException

    try:
        from torchvision import datasets
    except ImportError as error:
        raise DataError(f"torchvision can't be imported: {error}; install the release that fits torch") from None
    kind = getattr(datasets, CLASSES[name])
    with tempfile.TemporaryDirectory(prefix="bnsuite-data-") as scratch:
        raw = Path(scratch, kind.__name__, "raw")
        raw.mkdir(parents=True)
        kept = folder / kind.__name__ / "raw"
        with nullcontext() if archives(name, folder) else _one_at_a_time(kept):
            absent = [file for file, md5 in kind.resources if not _link(kept / file, raw / file, md5)]
            try:
                _extract(kind, scratch)
            except (OSError, RuntimeError, HTTPException) as error:
                raise DataError(_unavailable(absent, kept, error)) from None
            _keep([raw / file for file in absent], kept)
        train, test = (kind(scratch, train=part, download=False) for part in (True, False))
        return train.data.numpy(), train.targets.numpy(), test.data.numpy(), test.targets.numpy()


def _link(source: Path, target: Path, md5: str) -> bool:
    """Link an archive that is there; False if it isn't. Raises DataError for one that is damaged."""
    from torchvision.datasets.utils import calculate_md5

    try:
        if not source.is_file():
            return False
        found = calculate_md5(source)
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}; make it readable") from None
    if found != md5:
        raise DataError(f"{source}: is damaged: its md5 is {found}, not {md5}; remove it")
    target.symlink_to(source.resolve())
    return True


def _extract(kind: Any, scratch: str) -> None:  # a class of torchvision's, by name
    """Let torchvision check and extract what lies in `scratch`, and download what doesn't."""
    import socket

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        kind(scratch, download=True)
    finally:
        socket.setdefaulttimeout(before)


def _keep(files: list[Path], folder: Path) -> None:
    """Put downloaded archives into `folder`, each whole or not at all; this run has them even where that fails."""
    try:
        for file in files:
            folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=folder)
            os.close(handle)
            shutil.copyfile(file, temporary)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(folder / file.name)
    except OSError:
        return


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Makes other processes that would download the same wait; without a lock where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        yield
        return
    with lock:
        yield


def _unavailable(absent: list[str], folder: Path, error: Exception) -> str:
    first = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return (
        f"{folder} lacks {len(absent)} of the 4 archives and they can't be downloaded ({first}); "
        "name a folder that has them with --data-dir, in torchvision's layout"
    )
