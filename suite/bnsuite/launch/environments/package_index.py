"""The releases of torch that the package index has, from pip."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence

from bnsuite.launch.environments.release import REMOVED, UNREACHABLE, VERSION
from bnsuite.record.errors import InputError

#: The time limit of the index.
ANSWER_S = 180.0

LISTING = ("-m", "pip", "index", "versions", "torch", "--no-color", "--no-input", "--disable-pip-version-check")

#: Messages of pip when it can't list releases, each with its meaning.
CAUSES = (
    (r"No module named '?pip\b", "{python} has no pip; install it with `{python} -m ensurepip`"),
    (r'unknown command "index"', "the pip of {python} is older than 21.2; `{python} -m pip install -U pip`"),
    UNREACHABLE,
    (
        r"No matching distribution found for torch",
        "the package index has no torch for {here}, or does not answer; set PIP_INDEX_URL or PIP_FIND_LINKS",
    ),
)


def named(option: str, text: str) -> str:
    """Returns the version in ``torch==X.Y.Z``, the value of `option`; InputError for anything else."""
    package, _, version = text.partition("==")
    found = VERSION.fullmatch(version)
    if package != "torch" or found is None:
        raise InputError(f"{option} {text}: is no release of torch; write torch==X.Y.Z")
    if _before_a_release(version):
        raise InputError(f"{option} {text}: is a pre-release, and only releases are bisected; name one")
    return version


def releases() -> list[str]:
    """Returns the versions of torch for this Python, the oldest first, with local ones (2.13.0+cpu).

    Raises InputError if pip can't list them.
    """
    try:
        done = subprocess.run(
            [sys.executable, *LISTING],
            env={name: value for name, value in os.environ.items() if name not in REMOVED},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"pip index versions torch: no answer after {ANSWER_S:.0f} s; connect this machine, or set PIP_INDEX_URL "
            "or PIP_FIND_LINKS"
        ) from None
    versions = parse(done.stdout)
    if done.returncode != 0 or not versions:
        raise InputError(f"pip index versions torch: {cause(done.stderr + done.stdout)}")
    return versions


def parse(output: str) -> list[str]:
    """Returns the releases in the output of ``pip index versions``, the oldest first; pip prints the newest first."""
    found = re.search(r"^Available versions:(.*)$", output, re.MULTILINE)
    versions = [one.strip() for one in found[1].split(",")] if found else []
    known = [version for version in versions if VERSION.fullmatch(version) and not _before_a_release(version)]
    return known[::-1]


def cause(output: str) -> str:
    """Returns why pip can't list releases, with the fix, from its output."""
    for pattern, meaning in CAUSES:
        if re.search(pattern, output):
            here = f"Python {platform.python_version()} on {platform.machine()}"
            return meaning.format(python=sys.executable, here=here)
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"]
    return f"pip fails: {lines[-1].removeprefix('ERROR:').strip()[:300]}; see `{sys.executable} -m pip index versions`"


def between(known: Sequence[str], good: str, bad: str) -> list[str]:
    """Returns the releases from `good` to `bad`, both included, of those in the index (`known`, the oldest first).

    Of several builds of a release (2.13.0 and 2.13.0+cpu) there is one: that of the same local label as both ends,
    else the one without a label. Raises InputError if an end is not in the index, or is not older than the other.
    """
    builds: dict[str, list[str]] = {}
    for version in known:
        builds.setdefault(_public(version), []).append(version)
    order = list(builds)
    for option, version in (("--good", good), ("--bad", bad)):
        if _public(version) not in builds or (_label(version) and version not in builds[_public(version)]):
            raise InputError(
                f"{option} torch=={version}: the package index has no such release for Python "
                f"{platform.python_version()} on {platform.machine()}, it has {', '.join(known[-8:])}; "
                "choose one of these"
            )
    first, last = order.index(_public(good)), order.index(_public(bad))
    if first >= last:
        raise InputError(f"--good torch=={good}: is not older than --bad torch=={bad}; name the older one as good")
    label = _label(good) if _label(good) == _label(bad) else ""
    return [good, *(_build(builds[public], label) for public in order[first + 1 : last]), bad]


def _build(of_one_release: Sequence[str], label: str) -> str:
    """Returns one build of a release: with this label, else without any, else the first there is."""
    for preferred in (label, ""):
        for version in of_one_release:
            if _label(version) == preferred:
                return version
    return of_one_release[0]


def _public(version: str) -> str:
    """Returns the part of a version that all builds of a release share: no label, and no zeros at the end."""
    return re.sub(r"(\.0)+$", "", version.partition("+")[0])


def _label(version: str) -> str:
    return version.partition("+")[2]


def _before_a_release(version: str) -> bool:
    return re.search(r"\d(a|b|rc|\.dev)\d", version.partition("+")[0]) is not None
