"""Where the command line speaks: results to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from bnsuite.record.errors import InputError


def prepare() -> None:
    """Make sure that no letter of ours can end a run where the terminal's encoding doesn't know it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(text: str) -> None:
    """Print to stdout; if whoever read it has left, as ``head`` does, the rest goes nowhere."""
    try:
        print("\n".join(map(_printable, text.split("\n"))), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise InputError(f"stdout: cannot be written to: {error.strerror}; send it elsewhere") from error


def remark(text: str) -> None:
    """Print one line to stderr, with our name before it, whatever was said by what is measured."""
    with contextlib.suppress(OSError):
        print(f"bnsuite: {_printable(' '.join(text.split()))}", file=sys.stderr, flush=True)


def _printable(line: str) -> str:
    """`line` without what would make a terminal do more than print."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)
