"""Files written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bnsuite.record.errors import InputError


def write_atomically(path: Path, text: str) -> None:
    """Put `text` at `path`, so that a reader or a crash sees the old file or the new one, never a part."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o666 & ~_umask())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; {_mend(error)}") from error


def make_folder(path: Path) -> None:
    """Make sure that `path` is a folder that can be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written to: {error.strerror}; {_mend(error)}") from error


def read_text(path: Path, what: str) -> str:
    """The text of `path`, which the user was told is `what`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"{path}: no {what} can be read there: {cause}") from error


def _mend(error: OSError) -> str:
    import errno

    mends = {
        errno.ENOSPC: "free some space, or choose another folder with --out",
        errno.EROFS: "mount it writable (docker run -v DIR:/results), or choose another folder with --out",
        errno.EACCES: "make it writable for this user (in a container: docker run --user $(id -u):$(id -g)), "
        "or choose another folder with --out",
        errno.ENOTDIR: "a part of the path is a file; choose another folder with --out",
        errno.EEXIST: "there is a file of that name; choose another folder with --out",
    }
    return mends.get(error.errno or 0, "choose another folder with --out")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
