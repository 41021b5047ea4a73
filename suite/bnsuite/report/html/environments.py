"""The differences between two environments as rows: what it is, and its value in either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnsuite.record.functions import ROLES
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.lines import torch_of
from bnsuite.record.reference import Cause, Reference
from bnsuite.record.schema import Run
from bnsuite.report import kernels, text

NONE = "none"

_CAUSES = {
    Cause.NO_FOLDER: "there is no folder of baselines",
    Cause.NO_TIMING: "no times are accepted yet",
    Cause.NO_TIMING_OF_MACHINE: "none of this machine",
    Cause.OTHER_MACHINE: "it was measured on another machine",
    Cause.OTHER_DEVICE: "it was measured on another device",
}

#: Facts that are named first, in this order, and by these words.
_FIRST = {
    "environment": "environment",
    "implementation": "implementation",
    **{role.name: role.title for role in ROLES.values()},
    "injected": "injected fault",
    "packages.torch": "torch",
    "torch_git": "torch revision",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "python": "Python",
    "gpu.driver": "GPU driver",
    "gpu.name": "GPU",
    "gpu.capability": "GPU capability",
    "cpu": "CPU",
    "cpu_capability": "CPU capability",
    "cores_given": "cores",
    "threads": "threads",
    "system": "system",
    "libc": "C library",
}


@dataclass(frozen=True)
class Fact:
    """One recorded fact of two environments."""

    name: str
    a: str
    b: str

    @property
    def differs(self) -> bool:
        """The two environments are not the same in it."""
        return self.a != self.b


def of_comparison(a: Run, b: Run, times: InterleavedTimes) -> list[Fact]:
    """Returns all recorded facts of two compared environments; those that people ask for come first."""
    fault = ", ".join(f"{name} = {amount:g}" for name, amount in times.injected.items())
    extra_a, extra_b = times.variables.get("a", {}), times.variables.get("b", {})
    apart = list(kernels.changes(a, b))
    launched = (
        [Fact("kernels", "as it was", text.listed(apart, between="; ", letters=text.MAX_REASON))] if apart else []
    )
    return launched + _facts(
        {"environment": times.a, **_recorded(a), "setting": extra_a, "injected": ""},
        {"environment": times.b, **_recorded(b), "setting": extra_b, "injected": fault},
    )


def of_run(run: Run, reference: Reference) -> list[Fact]:
    """Returns the recorded facts of a run's reference and of the run, as far as the reference has any."""
    known = dict(reference.recorded) or _torch_of_lines(reference)
    return _facts(_flat(known), {name: one for name, one in _recorded(run).items() if name in _flat(known)})


def absences(reference: Reference) -> list[str]:
    """Returns why the reference has nothing at all for some gates, and how the nearest one differs."""
    found: dict[str, list[str]] = {}
    for gate, absence in reference.absent.items():
        cause = _CAUSES.get(absence.cause, "it has none")
        found.setdefault(f"{cause}{_nearest(absence.details)}", []).append(gate)
    return [f"No baseline for {text.listed(gates)}: {cause}." for cause, gates in found.items()]


def _nearest(details: Sequence[str]) -> str:
    return f"; the nearest has {text.listed(details, between='; ')}" if details else ""


def _torch_of_lines(reference: Reference) -> dict[str, Any]:
    """Returns the release of torch that accepted memory and checks are of, where it is one for all."""
    found = {line.torch for lines in reference.lines.values() for line in lines.values()}
    return {"packages": {"torch": found.pop()}} if len(found) == 1 else {}


def _recorded(run: Run) -> dict[str, Any]:
    """Returns the facts of a run by name; a name within another one comes after a dot."""
    isolation = run.isolation
    return {
        **_flat(run.environment.model_dump(mode="json")),
        "implementation": run.options.implementation,
        **run.options.functions,
        "bnsuite": run.bnsuite,
        "bnsuite revision": run.revision,
        "timed cores": isolation.timed_cores,
        "isolation not applied": isolation.not_applied,
        **_flat({"isolation": isolation.variables}),
        "packages.torch": torch_of(run),
    }


def _flat(record: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _facts(a: dict[str, Any], b: dict[str, Any]) -> list[Fact]:
    a, b = _flat(a), _flat(b)
    names = [*(name for name in _FIRST if name in a or name in b), *sorted((a.keys() | b.keys()) - _FIRST.keys())]
    return [Fact(_FIRST.get(name, _plain(name)), _shown(a.get(name)), _shown(b.get(name))) for name in names]


def _plain(name: str) -> str:
    """Returns a name without the record that it stands in, where nothing else could be meant."""
    return text.clipped(name.removeprefix("packages.").replace("gpu.nvml.", "gpu.").replace("_", " "))


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return text.listed([str(one) for one in value]) or NONE
    return NONE if value is None or value == "" else text.clipped(str(value), text.MAX_CELL)


def unusual(run: Run) -> Iterator[str]:
    """Yields what of the isolation could not be applied."""
    for one in run.isolation.not_applied:
        yield text.clipped(one, text.MAX_CELL)
