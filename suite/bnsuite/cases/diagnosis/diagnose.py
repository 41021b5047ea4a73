"""The diagnosis of one implementation on one device: each stage in turn, the most basic first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from bnsuite.cases import implementation, skips
from bnsuite.cases.diagnosis import backward, buffers, outputs
from bnsuite.cases.diagnosis.deviation import STAGES, Deviation, Diagnosis
from bnsuite.cases.diagnosis.material import Subject
from bnsuite.cases.refusals import FLAGS, Probes, said
from bnsuite.cases.support import PLACES, VARIABLE, WORDS, Declaration, Kind

Look = Callable[[Subject], Iterator[Deviation]]
#: What is looked at, with the stage of an exception there.
LOOKS: tuple[tuple[str, Look], ...] = (
    ("value", outputs.training),
    ("gradient", backward.training),
    ("statistics", buffers.statistics),
    ("state", buffers.state),
    ("mode", outputs.evaluation),
    ("gradient", backward.evaluation),
)


def diagnose(name: str, device: str) -> Diagnosis:
    """Returns the deviations of the implementation `name`, which is what the variables of this process name."""
    probes, declared = skips.probes(device), implementation.declared(name, os.environ.get(VARIABLE))
    refusals = () if declared.lacks_device(device) else probes.all(declared)
    kind = probes.plainest(declared)
    if kind is None or declared.lacks_device(device):
        return Diagnosis(None, refusals, ())
    subject = Subject(implementation.load(name), device, kind, _withheld(probes, declared, kind))
    found = [one for stage, look in LOOKS for one in _tried(stage, look, subject)]
    wrong_here = any(one.stage in {"shape", "value"} and one.code != "cancellation" for one in found)
    found += [one for one in _elsewhere(subject, probes, declared) if one.stage == "shape" or not wrong_here]
    found = _without_consequences(found)
    found.sort(key=lambda one: STAGES.index(one.stage))
    unique: dict[object, Deviation] = {}
    for one in found:  # the same mistake may show in two stages
        unique.setdefault((one.code, *sorted(one.data.items())), one)
    looked_at = f"{PLACES[kind.rank]} {kind.layout} {kind.dtype}"
    return Diagnosis(looked_at, refusals, tuple(unique.values()))


def _without_consequences(found: list[Deviation]) -> list[Deviation]:
    """Returns the deviations without unexplained ones where something more basic is wrong."""
    first = min((STAGES.index(one.stage) for one in found if "unexplained" not in one.code), default=len(STAGES))
    return [one for one in found if "unexplained" not in one.code or STAGES.index(one.stage) <= first]


def _tried(stage: str, look: Look, subject: Subject) -> list[Deviation]:
    """Returns what is found; an exception of the layer is a deviation of the stage."""
    found: list[Deviation] = []
    try:
        for one in look(subject):
            found.append(one)  # noqa: PERF402  # what was found before an exception counts
    except Exception as error:  # noqa: BLE001  # whatever the layer raises
        found.append(Deviation(stage, "raises", {"error": said(error)}))
    return found


def _withheld(probes: Probes, declared: Declaration, kind: Kind) -> frozenset[str]:
    """Returns the arguments that are refused, or not declared."""
    return frozenset(
        name
        for name, value in (*FLAGS, ("eps", outputs.OTHER_EPS))
        if declared.excludes(name, value) or not probes.takes(replace(kind, flags=((name, value),)))
    )


def _elsewhere(subject: Subject, probes: Probes, declared: Declaration) -> Iterator[Deviation]:
    """Yields what is wrong with the outputs of other kinds of input than the plainest one."""
    kind = subject.kind
    others = [
        *(("dims", replace(kind, rank=rank)) for rank in PLACES),
        *(("dtypes", replace(kind, dtype=dtype)) for dtype in WORDS["dtypes"]),
        *(("layouts", replace(kind, layout=layout)) for layout in WORDS["layouts"]),
    ]
    for name, other in others:
        if other == kind or declared.lacks(other) is not None or not probes.takes(other):
            continue
        words = {"dims": PLACES[other.rank], "dtypes": other.dtype, "layouts": other.layout}[name]
        for one in _tried("value", outputs.of_kind, replace(subject, kind=other)):
            yield replace(one, data={**one.data, "input": words})
