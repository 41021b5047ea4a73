"""The builds underneath two environments, and their CPUs' features: what differs, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from bnsuite.record.schema import EnvironmentInfo
from bnsuite.report import text, units

#: Fields of an environment whose differences are worded here.
FIELDS = frozenset({"builds", "build_settings", "cpu_features", "cpu_used"})

#: Settings that the record has under another name.
_RECORDED = frozenset({"BLAS_INFO", "COMMIT_SHA", "CUDA_VERSION", "CUDNN_VERSION", "LAPACK_INFO", "TORCH_VERSION"})
#: A setting of more words is a list of flags.
_MAX_WORDS = 3
#: Flags of a list, and settings, that are named.
_MAX_NAMED = 4


def differences(a: EnvironmentInfo, b: EnvironmentInfo) -> Iterator[str]:
    """Yields what is known of both and differs, such as "oneDNN 3.11.2 → 3.12.0"; nothing where one is not recorded."""
    if a.builds and b.builds:
        yield from _values(a.builds, b.builds)
    if a.build_settings and b.build_settings:
        yield from _settings(a.build_settings, b.build_settings)
    if a.cpu_features is not None and b.cpu_features is not None:
        yield from _features(frozenset(a.cpu_features), frozenset(b.cpu_features))
    yield from (
        f"torch's use of {text.clipped(name)}: {_yes(a.cpu_used[name])} → {_yes(b.cpu_used[name])}"
        for name in a.cpu_used
        if b.cpu_used.get(name, a.cpu_used[name]) != a.cpu_used[name]
    )


def _values(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys([*a, *b]):
        old, new = a.get(name, "none"), b.get(name, "none")
        if old != new:
            yield f"{text.clipped(name)} {text.clipped(old)} → {text.clipped(new)}"


def _settings(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    """Yields one line for all settings that differ: switches first, then lists of flags."""
    names = [one for one in dict.fromkeys([*a, *b]) if one not in _RECORDED and a.get(one) != b.get(one)]
    lines = [_setting(name, a.get(name), b.get(name)) for name in names]
    switches = [line for line in lines if "→" in line]
    lists = [line for line in lines if "→" not in line]
    if lines:
        yield f"torch's build: {text.listed([*switches, *lists], _MAX_NAMED + len(lists))}"


def _setting(name: str, old: str | None, new: str | None) -> str:
    if old is None or new is None or max(len(old.split()), len(new.split())) <= _MAX_WORDS:
        a, b = ("none" if one is None else one for one in (old, new))
        return f"{name} {text.clipped(a, 40)} → {text.clipped(b, 40)}"
    gone, added = flags_apart(old, new)
    parts = [f"{units.count(len(some), 'flag')} {word}" for some, word in ((gone, "gone"), (added, "new")) if some]
    return f"{name} ({', '.join(parts) or 'in another order'})"


def flags_apart(a: str, b: str) -> tuple[list[str], list[str]]:
    """Returns the words of two lists of flags that only the one, and only the other has."""
    left, right = Counter(a.split()), Counter(b.split())
    return list((left - right).elements()), list((right - left).elements())


def _features(a: frozenset[str], b: frozenset[str]) -> Iterator[str]:
    for side, some in (("A", a - b), ("B", b - a)):
        if some:
            yield f"CPU features that only {side} has: {text.listed(sorted(some))}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
