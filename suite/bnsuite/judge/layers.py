"""The layers of an environment that differ from the reference's: what a change of a number may come from.

Where one layer differs, it is the only known difference and still no proven cause; where several do, no single cause
can be named. What comes with a release of torch (its builds, Triton, torchvision) is part of that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bnsuite.judge.verdict import Finding, LayerChange, Verdict
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Run

Facts = Mapping[str, Any]

#: A change that may have a cause.
CHANGED = frozenset({Verdict.REGRESSED, Verdict.IMPROVED})
TORCH, BATCH_NORM, FAULT = "torch", "batch norm", "injected fault"
#: Packages that are no part of what is measured, and those that are chosen by the release of torch.
_TOOLS = frozenset({"pytest", "pytest-benchmark", "nvidia-ml-py"})
_WITH_TORCH = frozenset({"triton", "torchvision"})
#: The library of threads can be another one than torch brings.
_RUNTIME = "OpenMP runtime"
_OWN = "torch's own"
#: Words for a layer whose changes are many.
_MAX_NAMED = 3


def since(reference: Reference, run: Run, findings: Sequence[Finding] = ()) -> tuple[LayerChange, ...]:
    """Returns the layers of `run` that are known to differ from its reference's.

    The release of torch is that of the accepted times of the cases that changed, where it is one.
    """
    recorded: dict[str, Any] = dict(reference.recorded)
    accepted = reference.environment(one.case for one in findings if one.verdict in CHANGED)
    if accepted is None and not recorded:
        of_lines = {line.torch for lines in reference.lines.values() for line in lines.values()}
        accepted = of_lines.pop() if len(of_lines) == 1 else None
    if accepted is not None:
        release = accepted.removeprefix("torch==")
        recorded["packages"] = {**recorded.get("packages", {}), TORCH: release}
    now = _facts(run)
    return tuple(_apart({name: value for name, value in recorded.items() if name in now} | _standard(), now))


def between(a: Run, b: Run) -> tuple[LayerChange, ...]:
    """Returns the layers that differ between the two sides of a comparison."""
    return tuple(_apart(_facts(a), _facts(b)))


def _facts(run: Run) -> dict[str, Any]:
    replaced = [run.options.implementation, *run.options.functions.values()]
    return {
        **run.environment.model_dump(mode="json"),
        BATCH_NORM: ", ".join(filter(None, replaced)) or _OWN,
        "fault": ", ".join(f"{name} = {amount:g}" for name, amount in run.injected.items()) or "none",
        "on GPU": run.device != "cpu",
    }


def _standard() -> dict[str, Any]:
    """Returns what is true of every reference that was accepted."""
    return {BATCH_NORM: _OWN, "fault": "none"}


def _apart(a: Facts, b: Facts) -> Iterator[LayerChange]:
    found = [change for layer in _LAYERS if (change := layer(a, b)) is not None]
    yield from found or filter(None, [_image(a, b)])


def _value(layer: str, *names: str) -> Callable[[Facts, Facts], LayerChange | None]:
    """Returns the function that compares the facts of a layer; a fact that one side lacks is no difference."""

    def compare(a: Facts, b: Facts) -> LayerChange | None:
        apart = [name for name in names if _at(a, name) is not None and _at(b, name) is not None]
        apart = [name for name in apart if _at(a, name) != _at(b, name)]
        if not apart:
            return None
        return LayerChange(layer=layer, before=str(_at(a, apart[0])), now=str(_at(b, apart[0])))

    return compare


def _at(facts: Facts, name: str) -> Any:
    """Returns the fact of a name such as "gpu.driver"; None where there is none."""
    found: Any = facts
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _on_gpu(layer: str, name: str) -> Callable[[Facts, Facts], LayerChange | None]:
    """Returns the function for a library that has no part in what a CPU does."""
    compare = _value(layer, name)
    return lambda a, b: compare(a, b) if b.get("on GPU") else None


def _build(a: Facts, b: Facts) -> LayerChange | None:
    """Compares the builds of one release of torch: those of two releases differ with it."""
    if _release(a) != _release(b):
        return None
    one, other = (_without_runtime(facts.get("builds") or {}) for facts in (a, b))
    if one and other and (change := _named("torch's build", one, other)) is not None:
        return change
    return _value("torch's build", "torch_git")(a, b)


def _without_runtime(builds: Facts) -> Facts:
    return {name: value for name, value in builds.items() if name not in {_RUNTIME, "inter-op threads"}}


def _release(facts: Facts) -> Any:
    return (facts.get("packages") or {}).get(TORCH)


def _packages(a: Facts, b: Facts) -> LayerChange | None:
    """Compares the packages that both sides have, without tools and without those that come with torch."""
    one, other = a.get("packages") or {}, b.get("packages") or {}
    left_out = {TORCH, *_TOOLS, *(_WITH_TORCH if _release(a) != _release(b) else ())}
    both = [name for name in one if name in other and name not in left_out]
    return _named("packages", {name: one[name] for name in both}, {name: other[name] for name in both})


def _features(a: Facts, b: Facts) -> LayerChange | None:
    """Compares the features of the CPU, where its model is the same: a hypervisor may hide some."""
    one, other = a.get("cpu_features"), b.get("cpu_features")
    if one is None or other is None or set(one) == set(other):
        return None
    alone = [sorted(set(mine) - set(its)) for mine, its in ((one, other), (other, one))]
    before, now = (_listed(some) or "none of them" for some in alone)
    return LayerChange(layer="CPU features", before=before, now=now)


def _cpu(a: Facts, b: Facts) -> LayerChange | None:
    return _value("CPU", "cpu", "cpu_capability")(a, b) or _features(a, b)


def _settings(a: Facts, b: Facts) -> LayerChange | None:
    """Compares flags, precisions and variables; a flag that one release lacks is no setting."""
    one, other = a.get("variables"), b.get("variables")
    variables = [dict(some) if one is not None and other is not None else {} for some in (one or {}, other or {})]
    for name in ("flags", "precisions"):
        left, right = a.get(name) or {}, b.get(name) or {}
        both = [key for key in left if key in right]
        variables = [{**variables[0], **{k: left[k] for k in both}}, {**variables[1], **{k: right[k] for k in both}}]
    return _named("settings", variables[0], variables[1])


def _named(layer: str, a: Facts, b: Facts) -> LayerChange | None:
    """Compares facts by name; the values are given with their names."""
    apart = [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]
    if not apart:
        return None
    before, now = (_listed([f"{name} {facts.get(name, 'none')}" for name in apart]) for facts in (a, b))
    return LayerChange(layer=layer, before=before, now=now)


def _listed(some: Sequence[str]) -> str:
    more = f" and {len(some) - _MAX_NAMED} more" if len(some) > _MAX_NAMED else ""
    return ", ".join(some[:_MAX_NAMED]) + more


def _image(a: Facts, b: Facts) -> LayerChange | None:
    return _value("base image", "image.base", "image.base_digest")(a, b)


#: The layers, in the order in which they are named.
_LAYERS: tuple[Callable[[Facts, Facts], LayerChange | None], ...] = (
    _value(FAULT, "fault"),
    _value(BATCH_NORM, BATCH_NORM),
    _value(TORCH, f"packages.{TORCH}"),
    _build,
    _value("Python", "python", "implementation"),
    _on_gpu("CUDA", "cuda"),
    _on_gpu("cuDNN", "cudnn"),
    _value("GPU driver", "gpu.driver"),
    _value("GPU", "gpu.name"),
    _cpu,
    _value("cores", "cores_given"),
    _value("threads", "threads"),
    _value(_RUNTIME, f"builds.{_RUNTIME}"),
    _value("C library", "libc"),
    _value("system", "system"),
    _packages,
    _settings,
)
