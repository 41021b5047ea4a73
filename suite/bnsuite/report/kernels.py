"""Changes of what steps launch, in words: of one case, and of a comparison's cases together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bnsuite.judge.kernels import change_of
from bnsuite.record.launched import LaunchedKernels
from bnsuite.record.schema import Run
from bnsuite.report import text, units


def words(change: Mapping[str, Any]) -> str:
    """Returns a change in one line, such as "launched 2 operators, now 3: new 1 mul; batch norm cudnn → native"."""
    before, now, noun = int(change["before"]), int(change["now"]), str(change["of"]).removesuffix("s")
    numbers = (
        f"launched {units.count(before, noun)}, now {now}" if before != now else f"launches {before} other {noun}s"
    )
    kinds = (("gone", change["gone"], change["more_gone"]), ("new", change["new"], change["more_new"]))
    parts = [f"{word} {text.listed([str(one) for one in some], more=more)}" for word, some, more in kinds if some]
    if not parts and before == now:
        numbers = f"launches the same {noun}s"
    listed = f"{numbers}: {', '.join(parts)}" if parts else numbers
    backends = change["batch_norm"]
    if not backends:
        return listed
    old, new = ("none" if one is None else str(one) for one in backends)
    return f"{listed}; batch norm {old} → {new}"


def listed(kernels: LaunchedKernels) -> str:
    """Returns what a step launches, such as "2 operators: 1 add_, 1 native_batch_norm; batch norm native"."""
    names = [f"{number} {name}" for name, number in kernels.launched.items()]
    backend = f"; batch norm {text.clipped(kernels.batch_norm)}" if kernels.batch_norm else ""
    return f"{units.count(kernels.number, kernels.of.removesuffix('s'))}: {text.listed(names)}{backend}"


def changes(a: Run, b: Run) -> Iterator[str]:
    """Yields what the cases of `b` launch otherwise than those of `a`; cases with one change share a line."""
    before = {one.id: one for one in a.cases}
    found: dict[str, list[str]] = {}
    for one in b.cases:
        other = before.get(one.id)
        if one.kernels is None or other is None or other.kernels is None or other.case.version != one.case.version:
            continue
        change = change_of(other.kernels, one.kernels)
        if change is not None:
            found.setdefault(words(change), []).append(one.id)
    for told, cases in found.items():
        who = cases[0] if len(cases) == 1 else f"each of {len(cases)} cases ({cases[0]}, …)"
        yield f"{text.clipped(who)} {told}"
