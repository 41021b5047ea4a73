"""The reason why a case is skipped under an implementation: it needs what that does not declare, or refuses."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache

from bnsuite.cases import implementation, refusals
from bnsuite.cases.case import Case
from bnsuite.cases.checks.case import CheckCase, CheckNotApplicableError, Observation, Subject
from bnsuite.cases.implementation import MADE
from bnsuite.cases.op.case import DTYPES, LayerCase
from bnsuite.cases.op.ratio import RatioCase
from bnsuite.cases.refusals import Probes, Watch
from bnsuite.cases.support import RANKS, VARIABLE, WORDS, Declaration, Kind, UndeclaredError, flags_of

#: Types and layouts by the words of labels; other layouts are contiguous.
LABELLED_DTYPES = {**{short: name for short, (_, name) in DTYPES.items()}, "f64": "float64"}
LABELLED_LAYOUTS = {
    **dict.fromkeys(("nhwc", "ndhwc", "channels-last"), "channels-last"),
    **dict.fromkeys(("permuted", "sliced", "stepped", "reversed"), "strided"),
}


def declared() -> Declaration:
    """Returns what the implementation supports by its author's word; everything if there is none."""
    name = implementation.named()
    return Declaration() if name is None else implementation.declared(name, os.environ.get(VARIABLE))


@cache
def _probes(name: str, device: str) -> Probes:
    return Probes(implementation.load(name), device, implementation.torchs_own)


def probes(device: str) -> Probes:
    """Returns the forward passes of the implementation on a device, made when they are first needed."""
    name = implementation.named()
    assert name is not None
    return _probes(name, device)


def begin(case: Case, device: str) -> None:
    """Forget the layers of an earlier case; raises UndeclaredError for a case outside of what is declared."""
    implementation.begin()
    if implementation.named() is None:
        return
    supported = declared()
    reasons = (supported.lacks(kind) for kind in labelled(case))
    reason = supported.lacks_device(device) or next(filter(None, reasons), None)
    if reason is not None:
        raise UndeclaredError(reason)


def reason(error: BaseException, case: Case, device: str) -> str | None:
    """Returns the reason why a case that ended in an exception is skipped, or None if it has failed."""
    if isinstance(error, CheckNotApplicableError):
        return str(error)
    if implementation.named() is None:
        return None
    if isinstance(error, UndeclaredError):
        return str(error)
    if isinstance(error, NotImplementedError):
        return implementation.refusal(error)
    if not isinstance(error, Exception):
        return None
    return _refused(case, device)


def labelled(case: Case) -> list[Kind]:
    """Returns the kinds that a case needs, as far as its description says; of a check the first rank will do."""
    if isinstance(case, LayerCase):
        return [_of_layer(case)] if case.pluggable else []
    if isinstance(case, RatioCase):
        sides = (case.numerator, case.denominator)
        return [_of_layer(one) for one in sides if isinstance(one, LayerCase) and one.pluggable]
    labels = case.labels
    if not isinstance(case, CheckCase):
        return []
    found = re.search(r"\d", labels.get("dimensions") or labels.get("layer", ""))
    if found is None or int(found[0]) not in RANKS:
        return []
    dtype = next((LABELLED_DTYPES.get(word, word) for word in (labels.get("dtype"), labels.get("x")) if word), "")
    layout = labels.get("layout") or labels.get("x", "")
    return [
        Kind(
            rank=RANKS[int(found[0])][0],
            dtype=dtype if dtype in WORDS["dtypes"] else "float32",
            layout=LABELLED_LAYOUTS.get(layout, "contiguous"),
        )
    ]


def _of_layer(case: LayerCase) -> Kind:
    return Kind(
        rank=len(case.shape),
        dtype=DTYPES[case.dtype][1],
        layout=LABELLED_LAYOUTS.get(case.layout, "contiguous"),
        flags=flags_of({"affine": case.affine, "track_running_stats": case.track}),
    )


def _refused(case: Case, device: str) -> str | None:
    """Returns the first refusal among the kinds of a case and of the layers that it has made."""
    return refusals.first(probes(device), _kinds(case, probes(device)))


def _kinds(case: Case, tried: Probes) -> Iterator[Kind]:
    """Yields the kinds that a failed case has used; of the two ranks of a 1-dimensional check, if both are refused."""
    exact = not isinstance(case, CheckCase)
    for kind in labelled(case):
        if exact or all(tried.refusal(_with_rank(kind, rank)) for rank in RANKS[kind.dims]):
            yield kind
    for dims, flags in MADE.calls:
        made = [Kind(rank=rank, flags=flags) for rank in RANKS[dims]]
        if exact or all(map(tried.refusal, made)):
            yield made[0]


def _with_rank(kind: Kind, rank: int) -> Kind:
    return Kind(rank=rank, dtype=kind.dtype, layout=kind.layout, flags=kind.flags)


def look_again(case: CheckCase, device: str) -> tuple[list[Observation], str | None]:
    """Runs a check again and looks at every input of the layers, up to the first of a kind that is not supported.

    Returns the observations before that, and the reason why the check is skipped; no reason if there is none.
    """
    if found := _refused(case, device):
        return [], found
    watch = Watch(declared(), probes(device), [])
    implementation.begin()
    before: list[Observation] = []
    try:
        with refusals.watched(watch, MADE.layers):
            for one in case.observe(Subject(device)):
                if watch.reasons:  # the check took the end of the pass for an answer
                    break
                before.append(one)
    except Exception:  # noqa: BLE001, S110  # it has failed before, or was ended by the watch
        pass
    return before, next(iter(watch.reasons), None)


def limited(device: str) -> bool:
    """Returns True if the implementation declares less than everything, or refuses any kind."""
    return bool(declared().entries) or bool(probes(device).all(Declaration()))
