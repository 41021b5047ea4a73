"""The command that measures cases again as they were measured, as a person types it into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bnsuite.record.errors import InputError
from bnsuite.record.functions import ROLES
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.package_index import PackageIndex
from bnsuite.record.schema import Run
from bnsuite.record.select import expression, matcher

#: Where nothing else is said: the profile, the CPU threads, the seconds that a case may take (a test compares them).
DEFAULT_PROFILE, DEFAULT_THREADS, DEFAULT_TIMEOUT_S = "quick", 1, 300.0


def run_again(
    run: Run, cases: Sequence[str], *more: str, profile: str | None = None, select: str | None = None
) -> str | None:
    """Returns the command that measures `cases` of a run again, with the options in `more`.

    `select` is an expression that stands for the cases; an empty one for all of them. None where no command can: an id
    or a name in it is no text that can be typed.
    """
    options = run.options
    named = implementation(run, "")
    where = ["--environment", options.environment] if options.environment != "." else []
    shared = ["--oversubscribe"] if options.oversubscribe else []
    return _command(["bnsuite", *settings(run, profile), *shared, *named, *where, *more], cases, select)


def compare_again(
    run: Run,
    times: InterleavedTimes,
    cases: Sequence[str],
    *,
    profile: str | None = None,
    select: str | None = None,
    seed: bool = True,
) -> str | None:
    """Returns the command that compares two environments again by `cases`; None where no command can.

    `run` is B's. With `seed` cases and sides come in the same order again.
    """
    named = implementation(run, "-b")
    injected = [part for name, amount in times.injected.items() for part in ("--inject", _fault(name, amount))]
    order = ["--seed", str(times.seed)] if seed else []
    return compare(
        times.a,
        times.b,
        [*settings(run, profile), *named, *package_index(run.options.index), *injected, *order],
        cases,
        select,
    )


def package_index(index: PackageIndex | None) -> list[str]:
    """Returns the options that name a package index, without the secrets that were never recorded."""
    if index is None:
        return []
    main = [] if index.url is None else ["--index-url", index.url]
    extra = [part for url in index.extra_urls for part in ("--extra-index-url", url)]
    return [*main, *extra, *(["--pre"] if index.pre else [])]


def compare(a: str, b: str, options: Sequence[str], cases: Sequence[str], select: str | None = None) -> str | None:
    """Returns the command that compares two environments with these options; None where no command can."""
    if a.startswith("-") or b.startswith("-"):
        return None
    return _command(["bnsuite", "ab", a, b, *options], cases, select)


def settings(run: Run, profile: str | None = None) -> list[str]:
    """Returns the device of a run and its options that are not the defaults, such as its files of cases."""
    options = run.options
    profile = profile or options.profile
    parts = ["--device", run.device, *([] if profile == DEFAULT_PROFILE else ["--profile", profile])]
    parts += [part for name in options.cases for part in ("--cases", name)]
    parts += [part for name in options.workloads for part in ("--workload", name)]
    if options.threads != DEFAULT_THREADS:
        parts += ["--threads", str(options.threads)]
    if options.timeout_s != DEFAULT_TIMEOUT_S:
        parts += ["--timeout", f"{options.timeout_s:g}"]
    return parts


def implementation(run: Run, side: str) -> list[str]:
    """Returns the options that name an implementation, what it supports, and functions; none for torch's own.

    `side` ends their names: "-b" in a comparison.
    """
    options = run.options
    functions = [part for role, name in options.functions.items() for part in (f"{ROLES[role].option}{side}", name)]
    if options.implementation is None:
        return functions
    declared = ";".join(f"{kind}={','.join(words)}" for kind, words in (options.supports or {}).items())
    supports = [f"--supports{side}", declared] if declared else []
    return [f"--impl{side}", options.implementation, *supports, *functions]


def _fault(name: str, amount: float) -> str:
    return f"holds={amount:.0f}" if name == "bytes_held" else f"{name}={amount:g}"


def _command(words: list[str], cases: Sequence[str], select: str | None) -> str | None:
    """Returns the words for a shell with the selection of the cases; None if that is not what they would measure."""
    selected = (expression(cases) or None) if select is None else select
    if selected is None:
        return None
    words = [*words, "-k", selected] if selected else words
    if not all(map(str.isprintable, words)) or not all(words):
        return None
    try:
        matches = matcher(selected) if selected else lambda _: True
    except InputError:  # an id may be a word of the language, such as "or"
        return None
    return shlex.join(words) if all(map(matches, cases)) else None
