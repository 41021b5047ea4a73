"""The releases of torch that the package index has, from pip."""

from __future__ import annotations

import bisect
import platform
import re
import subprocess
import sys
from collections.abc import Sequence

from packaging.version import Version

from bnsuite.launch.environments import pip
from bnsuite.launch.environments.release import VERSION
from bnsuite.record.errors import InputError
from bnsuite.record.package_index import PackageIndex, text_without_secrets

#: The time limit of the index.
ANSWER_S = 180.0

#: Only a verbose pip says that an index refused access.
LISTING = ("-m", "pip", "index", "versions", "torch", "-vv", "--no-color", "--no-input", "--disable-pip-version-check")

#: Releases that an error shows, those next to the one that is not there.
SHOWN = 8

#: Messages of pip when it can't list releases, each with its meaning.
CAUSES = (
    (r"No module named '?pip\b", "{python} has no pip; install it with `{python} -m ensurepip`"),
    (r'unknown command "index"', "the pip of {python} is older than 21.2; `{python} -m pip install -U pip`"),
    pip.REFUSED,
    pip.UNTRUSTED,
    pip.UNREACHABLE,
    (
        r"No matching distribution found for torch",
        "{index} has no torch for {here}, or does not answer; set PIP_INDEX_URL or PIP_FIND_LINKS",
    ),
)


def named(option: str, text: str) -> str:
    """Returns the version in ``torch==X.Y.Z``, the value of `option`; InputError for anything else."""
    package, _, version = text.partition("==")
    if package != "torch" or VERSION.fullmatch(version) is None:
        raise InputError(f"{option} {text}: is no release of torch; write torch==X.Y.Z")
    return version


def releases(index: PackageIndex | None = None) -> list[str]:
    """Returns the versions of torch for this Python, the oldest first, with local ones (2.13.0+cpu).

    Pre-releases are among them if `index` says so. Raises InputError if pip can't list them.
    """
    try:
        done = subprocess.run(
            [sys.executable, *LISTING],
            env=pip.variables(index),
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
    versions = parse(done.stdout, pre=index is not None and index.pre)
    if done.returncode != 0 or not versions:
        raise InputError(f"pip index versions torch: {cause(done.stderr + done.stdout, index)}")
    return versions


def parse(output: str, *, pre: bool = False) -> list[str]:
    """Returns the releases in the output of ``pip index versions``, the oldest first, and with `pre` pre-releases."""
    found = re.search(r"^Available versions:(.*)$", output, re.MULTILINE)
    versions = [one.strip() for one in found[1].split(",")] if found else []
    known = [one for one in versions if VERSION.fullmatch(one) and (pre or not Version(one).is_prerelease)]
    return sorted(known, key=Version)


def cause(output: str, index: PackageIndex | None = None) -> str:
    """Returns why pip can't list releases, with the fix, from its output."""
    for pattern, meaning in CAUSES:
        if re.search(pattern, output):
            here = f"Python {platform.python_version()} on {platform.machine()}"
            return meaning.format(python=sys.executable, here=here, index=pip.shown(index))
    lines = [line.strip() for line in text_without_secrets(output, index).splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or ["it said nothing"])[-1]
    return f"pip fails: {last[:300]}; see `{sys.executable} -m pip index versions`"


def between(known: Sequence[str], good: str, bad: str) -> list[str]:
    """Returns the releases from `good` to `bad`, both included, of those in the index (`known`, the oldest first).

    Between two nightly builds there are only nightly builds. Of several builds of a release (2.13.0 and 2.13.0+cpu)
    there is one: that of the same local label as both ends, else the one without a label. Raises InputError if an end
    is not in the index, or is not older than the other.
    """
    builds: dict[Version, list[str]] = {}
    for version in known:
        builds.setdefault(_public(version), []).append(version)
    for option, version in (("--good", good), ("--bad", bad)):
        if _public(version) not in builds or (_label(version) and version not in builds[_public(version)]):
            raise InputError(
                f"{option} torch=={version}: the package index has no such release for Python "
                f"{platform.python_version()} on {platform.machine()}, it has {', '.join(_nearest(known, version))}; "
                "choose one of these"
            )
    first, last = _public(good), _public(bad)
    if first >= last:
        raise InputError(f"--good torch=={good}: is not older than --bad torch=={bad}; name the older one as good")
    nightly = first.is_devrelease and last.is_devrelease
    inside = [public for public in builds if first < public < last and (public.is_devrelease or not nightly)]
    label = _label(good) if _label(good) == _label(bad) else ""
    return [good, *(_build(builds[public], label) for public in inside), bad]


def is_pre_release(version: str) -> bool:
    """Returns True for a release candidate, a nightly build and the like."""
    return Version(version).is_prerelease


def _nearest(known: Sequence[str], version: str) -> Sequence[str]:
    place = bisect.bisect_left([Version(one) for one in known], Version(version))
    first = max(0, min(place - SHOWN // 2, len(known) - SHOWN))
    return known[first : first + SHOWN]


def _build(of_one_release: Sequence[str], label: str) -> str:
    """Returns one build of a release: with this label, else without any, else the first there is."""
    for preferred in (label, ""):
        for version in of_one_release:
            if _label(version) == preferred:
                return version
    return of_one_release[0]


def _public(version: str) -> Version:
    """Returns the part of a version that all builds of a release share: no label."""
    return Version(Version(version).public)


def _label(version: str) -> str:
    return version.partition("+")[2]
