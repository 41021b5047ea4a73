"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bnsuite.record.errors import InputError, WriteError

OUT, BASELINES = "--out", "--baselines"
"""The options that choose where something is written: an error names the one that helps."""

_UMASK = os.umask(0)  # read once, while there is one thread: it can't be read without being set
os.umask(_UMASK)


def write_atomically(path: Path, content: str | bytes, option: str = OUT) -> None:
    """Put `content` (text as UTF-8) at `path`: a reader or a crash sees the old file or the new one, never a part."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o666 & ~_UMASK)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror}; {_hint(error, option)}") from error


def write_together(files: Mapping[Path, str], option: str = OUT) -> None:
    """Put each text at its path, in folders that are there: none is replaced unless all could be written."""
    made: dict[Path, Path] = {}
    try:
        for path, text in files.items():
            made[path] = path.with_name(f".{path.name}.{os.getpid()}")
            write_atomically(made[path], text, option)
        for path, temporary in made.items():
            try:
                temporary.replace(path)
            except OSError as error:
                raise WriteError(f"{path}: cannot be written: {error.strerror}; {_hint(error, option)}") from error
    finally:
        for temporary in made.values():
            temporary.unlink(missing_ok=True)


def append_text(path: Path, text: str) -> None:
    """Add `text` to the end of `path`, a file that others write into as well, on a line of its own."""
    try:
        with path.open("ab+") as file:
            empty = file.tell() == 0
            if not empty:
                file.seek(-1, os.SEEK_END)
            broken = not empty and file.read(1) != b"\n"
            file.write(("\n" if broken else "").encode() + text.encode())
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror}; make it writable for this user") from error


def make_folder(path: Path, option: str = OUT) -> None:
    """Make sure that `path` is a folder that can be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise WriteError(f"{path}: cannot be written to: {error.strerror}; {_hint(error, option)}") from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other command holds `folder`, and hold it, if it is there and its file system knows locks."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def read_text(path: Path, what: str) -> str:
    """The text of `path`, which the user was told is `what`."""
    try:
        if not path.is_file():  # a pipe or a device may never end
            raise InputError(f"{path}: no {what} can be read there: it is not a regular file; name one")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: no {what} can be read there: {error.strerror}; make it readable") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no {what} can be read there: it is not text; restore it, or name another") from error


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of such a file, one if it is empty. Only a newline ends one: JSON may hold other separators."""
    return read_text(path, what).removesuffix("\n").split("\n")


def exists(path: Path) -> bool:
    """Returns True if there is something at `path`; InputError if it can't be looked at."""
    try:
        return path.exists()
    except OSError as error:
        raise InputError(f"{path}: cannot be looked at: {error.strerror}; name another path") from error


def _hint(error: OSError, option: str) -> str:
    elsewhere = f"choose another folder with {option}"
    hints = {
        errno.ENOSPC: "free some space, or ",
        errno.EROFS: "mount it writable (docker run -v DIR:/results), or ",
        errno.EACCES: "make it writable for this user (in a container: docker run --user $(id -u):$(id -g)), or ",
        errno.ENOTDIR: "a part of the path is a file; ",
        errno.EEXIST: "there is a file of that name; ",
    }
    return hints.get(error.errno or 0, "") + elsewhere
