"""What the tests of workflows and deployments share: the programs that read those files, and the commands in them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bnsuite.cli.command import DEFAULT, VERB_GROUP, VERBS

#: Ends of a command within a line of shell.
_OPERATORS = re.compile(r"[|&;<>()]+")


def program(name: str, package: str) -> str:
    """The path of a program, on the PATH or beside this interpreter; skips the test where it is missing."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    if found is None:
        pytest.skip(f"{name} is not installed ({package})")
    return found


def checked(*command: str | Path, cwd: Path | None = None) -> str:
    """The output of a command, which must end with 0."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def bnsuite_commands(script: str) -> list[list[str]]:
    """The arguments of each call of bnsuite in lines of shell; variables keep their names."""
    found = []
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for start, word in enumerate(words):
            if word == "bnsuite" or word.endswith("/bnsuite") or word == "$bnsuite":
                rest = words[start + 1 :]
                end = next((at for at, one in enumerate(rest) if _OPERATORS.fullmatch(one)), len(rest))
                found.append([one for one in rest[:end] if not re.fullmatch(r"\d", one)])
    return found


def parsed(arguments: list[str]) -> dict[str, object]:
    """The parameters that the real parser makes of arguments; raises click's own error for wrong ones."""
    group = click.Context(VERB_GROUP, info_name="bnsuite")
    verb, rest = (arguments[0], arguments[1:]) if arguments[:1] and arguments[0] in VERBS else (DEFAULT, arguments)
    command = VERB_GROUP.get_command(group, verb)
    assert command is not None
    return command.make_context(verb, list(rest), parent=group).params


def run_script(
    script: str, folder: Path, *, stubs: dict[str, str] | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs lines of shell as GitHub does, in `folder`, with `stubs` in front of the PATH."""
    programs = folder / "stubs"
    programs.mkdir(exist_ok=True)
    for name, body in (stubs or {}).items():
        path = programs / name
        path.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
