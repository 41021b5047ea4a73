"""Words for times: disturbances, slowdowns, ratios, and what a comparison found."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bnsuite.judge.reason import ReasonCode
from bnsuite.report import units
from bnsuite.report.reasons.shared import Data, changes_in_words, launches, not_calibrated, percent, rule
from bnsuite.report.text import clipped, listed

#: Another state of the machine, or all of the environment: what a change of the controls means.
_ELSEWHERE = "the machine is in another state, or all of the environment changed"

_DISTURBANCES: dict[str, tuple[str, str]] = {
    "core": (
        "something else had the core",
        "end it, or give bnsuite a core of its own (taskset, docker run --cpuset-cpus)",
    ),
    "gpu-throttled": ("the GPU was throttled ({by})", "cool it, or lock its clocks"),
    "gpu-shared": ("another process was on the GPU", "end it; `nvidia-smi` names it"),
    "gpu-faulty": (
        "the GPU's memory had errors that could not be corrected",
        "reset it with `nvidia-smi -r`; if they come back, have it replaced",
    ),
    "gpu-busy-before": (
        "the GPU was busy before, and whose work that is can't be seen here",
        "see `nvidia-smi` on the host, or start the container with --pid=host",
    ),
    "other": ("{by}", "end the cause, or give bnsuite cores of its own"),
}


def _disturbed(data: Data) -> str:
    cause, fix = _DISTURBANCES[data["kind"]]
    by = listed(data["by"])
    return f"{cause.replace('{by}', by)} in {data['launches']} of {data['of']} launches; {fix}"


def _faster_than_copy(data: Data) -> str:
    return (
        f"broken measurement: {percent(data['share'])} of copy bandwidth; it can't move its {data['nbytes']} bytes "
        "faster than a copy beside it does"
    )


def _slower(data: Data) -> str:
    parts = [f"slower by {percent(data['change'])}, where the baseline allows {percent(data['limit'])}"]
    if not data["beyond_controls"]:
        parts[0] += f", but by less than twice the drift of the controls: {_ELSEWHERE}"
    parts.append(_since(data))
    parts += _gpu(data)
    if "confirm" in data:
        parts.append(_advice(data["confirm"]))
    return "; ".join(parts)


#: Why other processes may have been on the GPU unseen.
BLIND_SPOTS = {
    "own-hidden": "the driver does not list even this process (a PID namespace; --pid=host ends it)",
    "no-list": "the driver lists no processes here",
    "mig": "other MIG slices share the board's power and clocks",
    "vgpu": "other virtual machines share the GPU",
    "mps": "the clients of MPS are one process",
}


def _gpu(data: Data) -> list[str]:
    """Returns what there is to say of the GPU: a lower clock, a power cap, and what could not be looked for."""
    seen = data.get("gpu") or {}
    parts = []
    if "clock" in seen:
        lower = 100 * -seen["clock"]
        parts.append(
            f"the median SM clock was {lower:.0f} % lower, which slows it by as much: `nvidia-smi -lgc` locks it"
        )
    if "capped" in seen:
        parts.append(f"the power cap held the clocks for {percent(seen['capped'])} of the time")
    if "blind" in seen:
        parts.append(blind(seen["blind"]))
    return parts


def blind(spots: Sequence[str]) -> str:
    """Returns the blind spots of the look for other processes, as "could not look: ..."."""
    return f"could not look for other processes: {listed([BLIND_SPOTS.get(one, clipped(one)) for one in spots])}"


def _since(data: Data) -> str:
    return f"controls since then: {changes_in_words(data['controls'])}"


def _advice(data: Data) -> str:
    if data["implementation"] is not None:
        return f"--confirm decides it, or `bnsuite ab . . --impl-b {data['implementation']} -k '{data['case']}'`"
    return f"--confirm decides it, or `bnsuite ab {data['environment'] or 'A'} . -k '{data['case']}'`"


def _ratio(data: Data) -> str:
    return f"takes {data['ratio']:.2f} times as long, the limit is {data['bound']:g} times"


def _change(data: Data) -> str:
    return f"takes {units.change(data['change'])} ({units.change(data['low'])} to {units.change(data['high'])})"


def _slowdown_confirmed(data: Data) -> str:
    shown = f"{_change(data)}, in {launches(data['launches'])} and again in {data['confirming']} fresh ones"
    controls = [units.change(change) for change in data["controls"].values()]
    shown = f"{shown}; the controls changed by {listed(controls)}" if controls else shown
    return "; ".join([shown, *_gpu(data)])


def _time_undecided(data: Data) -> str:
    after = f" after {launches(data['confirming'])} of its own" if data["confirming"] else ""
    kind = f"a slowdown that is not confirmed{after}" if data["flagged"] else "neither slower nor within the margin"
    return "; ".join([f"{_change(data)}: {kind}", _needs(data), *_gpu(data)])


def _cpu_time(data: Data) -> str:
    before, now = data["cores"]
    shown = f"CPU time {units.change(data['change'])} per step, wall time {units.change(data['wall'])}"
    return f"{shown}: {now:.2f} cores kept busy, {before:.2f} before, in {launches(data['launches'])}"


def _needs(data: Data) -> str:
    return f"about {data['needs']} more launches would decide"


WORDS: dict[ReasonCode, Callable[[Data], str]] = {
    ReasonCode.CPU_TIME_ABOVE: lambda data: (
        f"{_cpu_time(data)}; {percent(data['limit'])} more than wall time explains are allowed"
    ),
    ReasonCode.CPU_TIME_BELOW: _cpu_time,
    ReasonCode.CPU_TIME_WITHIN: _cpu_time,
    ReasonCode.CPU_TIME_UNDECIDED: lambda data: (
        f"{_cpu_time(data)}; not shown to be within {percent(data['limit'])} of what wall time explains"
    ),
    ReasonCode.DISTURBED: _disturbed,
    ReasonCode.FEW_LAUNCHES: lambda data: f"only {launches(data['launches'])}: the run ended before",
    ReasonCode.FASTER_THAN_COPY: _faster_than_copy,
    ReasonCode.SLOWER: _slower,
    ReasonCode.FASTER: lambda data: f"faster by {percent(-data['change'])}; {_since(data)}",
    ReasonCode.WITHIN_LIMIT: lambda data: f"within {percent(data['limit'])} of the baseline",
    ReasonCode.NOT_WITHIN_LIMIT: lambda data: "; ".join(
        [f"not shown to be within {percent(data['limit'])} of the baseline", _since(data), *_gpu(data)]
    ),
    ReasonCode.CONTROLS_CHANGED: lambda data: f"the controls changed as much: {_ELSEWHERE}; {_since(data)}",
    ReasonCode.RATIO_ABOVE: lambda data: f"{_ratio(data)}; {rule(data)}",
    ReasonCode.RATIO_BELOW: _ratio,
    ReasonCode.RATIO_NOT_CALIBRATED: lambda data: (
        f"takes {data['ratio']:.2f} times as long; {not_calibrated(data)}"
        + ("" if data["assumed"] is None else f", {data['assumed']:g} times is assumed")
    ),
    ReasonCode.RATIO_UNDECIDED: lambda data: f"{_ratio(data)}: not shown to be below it",
    ReasonCode.RATIO_WITHOUT_BOUND: lambda data: f"takes {data['ratio']:.2f} times as long; a figure, no bound is set",
    ReasonCode.SLOWDOWN_CONFIRMED: _slowdown_confirmed,
    ReasonCode.TIME_COMPARED: lambda data: f"{_change(data)}, in {launches(data['launches'])}",
    ReasonCode.TIME_UNDECIDED: _time_undecided,
    ReasonCode.NEEDS_LAUNCHES: _needs,
}
