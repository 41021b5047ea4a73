"""Case ids as earlier versions wrote them, and what they said: the only place that parses an id.

Runs since schema 4 carry a kind and labels, and nobody looks into their ids.
"""

from __future__ import annotations

import re
from typing import Any

#: Prefixes of ids until 0.3, and since; an id matches one prefix at most.
PREFIXES = (
    ("numerics/stride/", "numerics/strides/"),
    ("numerics/ref/", "numerics/reference/"),
    ("numerics/shift/", "numerics/offsets/"),
    ("numerics/range/", "numerics/ranges/"),
    ("numerics/dtype/", "numerics/dtypes/"),
    ("numerics/stats/", "numerics/running-statistics/"),
    ("numerics/degen/", "numerics/degenerate/"),
    ("numerics/bign/", "numerics/large-batch/"),
    ("numerics/bignumel/", "numerics/large-tensor/"),
    ("numerics/evalbwd/", "numerics/eval-backward/"),
    ("numerics/higher/", "numerics/higher-order/"),
    ("behaviour/compile/aot_eager_decomp_partition/kin", "behaviour/compile/aot_eager_decomp_partition/other-norms-"),
    ("behaviour/compile/inductor/kin", "behaviour/compile/inductor/other-norms-"),
    ("behaviour/convert/", "behaviour/sync-conversion/"),
    ("behaviour/ckpt/", "behaviour/checkpoint/"),
    ("behaviour/toggle/", "behaviour/toggles/"),
    ("behaviour/amp/", "behaviour/autocast/"),
    ("behaviour/graph/", "behaviour/cuda-graphs/"),
    ("behaviour/valid/", "behaviour/validation/"),
    ("behaviour/det/", "behaviour/determinism/"),
    ("behaviour/m-step/", "behaviour/peak-memory/"),
    ("behaviour/m-eval/", "behaviour/saved-tensors/"),
    ("behaviour/m-leak/", "behaviour/memory-leaks/"),
    ("behaviour/ddp/", "behaviour/data-parallel/"),
    ("behaviour/sync/", "behaviour/sync-batch-norm/"),
    ("relation/neighbours/", "ratio/above-vs-below-limit/"),
    ("relation/kin-vs-batch-norm/", "ratio/other-norm-vs-batch-norm/"),
    ("relation/", "ratio/"),
)

#: Ids of cases that are gone because others do what they did; those until 0.6.
RETIRED = re.compile(r"behaviour/frozen/batch_norm\dd/folded/.+|numerics/running-statistics/update_bn")


def is_retired(name: str) -> bool:
    """Returns True for the id of a case that baselines of before have, and that no run measures any more."""
    return RETIRED.fullmatch(name) is not None


def current_id(old: str) -> str:
    """Returns today's spelling of an id, or of a pattern of ids; one that is new is returned as it is."""
    return next((new + old.removeprefix(before) for before, new in PREFIXES if old.startswith(before)), old)


def old_id(current: str) -> str:
    """Returns the spelling of an id until 0.3, which is `current` where it has not changed."""
    return next((old + current.removeprefix(new) for old, new in PREFIXES if current.startswith(new)), current)


def with_kind(case: dict[str, Any]) -> dict[str, Any]:
    """Returns a case of a run of schema 3 in today's spelling, with the kind and the labels that its id implies."""
    name = current_id(case["id"])
    family, *words = name.split("/")
    known = {"op": ("layer", _layer), "ratio": ("ratio", _ratio), "train": ("training", _training)}
    checks = dict.fromkeys(("numerics", "behaviour"), ("check", _check))
    kind, labels = {**known, **checks}.get(family, ("workload", lambda *_: {}))
    changed = {"id": name, "family": current_id(f"{case['family']}/").rstrip("/")}
    rest = {key: value for key, value in case.items() if key != "cuda_only"}
    return {**rest, **changed, "kind": kind, "labels": labels(family, words, case), "gpu_only": case["cuda_only"]}


def with_gate(line: dict[str, Any]) -> dict[str, Any]:
    """Returns a line of accepted checks of schema 1 in today's spelling, with the gate that its id begins with."""
    name = current_id(line["id"])
    return {**line, "schema": 2, "id": name, "gate": name.partition("/")[0]}


def _layer(_: str, words: list[str], __: dict[str, Any]) -> dict[str, str]:
    names = ("layer", "phase", "dtype", "layout", "shape")
    options = words[5].split("+") if len(words) > 5 else []
    off = [word for word in options if word.startswith("no-")]
    execution = next((word for word in options if word not in off), "eager")
    return {**dict(zip(names, words, strict=False)), "options": "+".join(off), "execution": execution}


def _ratio(family: str, words: list[str], case: dict[str, Any]) -> dict[str, str]:
    return {"comparison": "".join(words[:1]), **_layer(family, words[1:], case)}


def _training(_: str, words: list[str], case: dict[str, Any]) -> dict[str, str]:
    settings = [setting.partition("=") for setting in words[2:]]
    named = dict(zip(("workload", "norm"), words, strict=False))
    return {**named, "data": case["dataset"] or "", **{name: value for name, _, value in settings}}


#: Words of a check's id that have a label of their own.
_WORDS = {
    "layer": r"(sync_)?batch_norm(\dd(\+places)?)?|(layer|group|instance)_norm|lazy\dd|functional",
    "mode": r"train|eval",
    "dtype": r"b?float\d+|b?f\d\d",
    "layout": r"contiguous|channels-last|ncl?|n(chw|hwc|cdhw|dhwc)",
    "dimensions": r"\dd(-nc|\+places)?|\d-dim",
    "shape": r"\d+(x\d+)+",
}


def _check(gate: str, words: list[str], _: dict[str, Any]) -> dict[str, str]:
    rest = words[1:]
    labels = {"gate": gate, "family": "".join(words[:1])}
    aspect = []
    for part in rest:
        for word in part.split("+") if part.count("+") + 1 == part.count("=") > 1 else [part]:
            key, equals, value = word.partition("=")
            label = key if equals else next((one for one in _WORDS if re.fullmatch(_WORDS[one], word)), None)
            if label is None or label in labels:
                aspect.append(word)
            else:
                labels[label] = value if equals else word
    return {**labels, "aspect": "/".join(aspect)} if aspect else labels
