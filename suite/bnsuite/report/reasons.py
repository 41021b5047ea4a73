"""Reasons in words: one table from a reason's code to a function of its data. Units and rounding are chosen here.

Data may come from a damaged or hostile file: whatever does not fit is shown as it is, in one line of bounded length.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bnsuite.judge.reason import Reason, ReasonCode
from bnsuite.judge.verdict import Finding
from bnsuite.report import kernels, text, units
from bnsuite.report.text import clipped, listed

Data = Mapping[str, Any]

#: Above this a number stands for one that is not finite (see ``cases/checks/case.py``).
NOT_FINITE = 1e30
#: Another state of the machine, or all of the environment: what a change of the controls means.
_ELSEWHERE = "the machine is in another state, or all of the environment changed"


def words(finding: Finding) -> str:
    """Returns the reason of a finding in one line."""
    return sentence(finding.reason)


def sentence(reason: Reason) -> str:
    """Returns a reason in one line of bounded length."""
    return clipped(text.one_line(_words(reason.code, reason.data)), text.MAX_REASON)


def _words(code: ReasonCode, data: Data) -> str:
    try:
        return _WORDS[code](data) + _kernels_too(data)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return f"{code.value} {json.dumps(data)}"


def kernels_too(reason: Reason) -> str:
    """Returns the change of what a case launches that stands in the reason of its time; empty where there is none."""
    try:
        return _kernels_too(reason.data)
    except (LookupError, TypeError, ValueError, AttributeError):
        return ""


def _kernels_too(data: Data) -> str:
    return f"; it {kernels.words(data['kernels'])}" if "kernels" in data else ""


def _inner(data: Data, name: str = "reason") -> str:
    """Returns a reason within a reason, in words."""
    return _words(ReasonCode(data[name]["code"]), data[name]["data"])


def _text(data: Data) -> str:
    return "no reason given" if data["text"] is None else str(data["text"])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _changes(changes: Mapping[str, float]) -> str:
    return listed([f"{name} {units.change(change)}" for name, change in changes.items()])


def _rule(data: Data) -> str:
    """Returns the rule that is broken, and the threads in which others reported it."""
    threads = data["threads"]
    others = " and others" if len(threads) > 2 else ""
    seen = f" (as in {', '.join(map(clipped, threads[:2]))}{others})" if threads else ""
    return f"the rule: {clipped(data['rule'] or 'none given', text.MAX_SENTENCE)}{seen}"


def _not_in_reference(data: Data) -> str:
    return f"not in {data['reference']}{'; `bnsuite accept` puts it there' if data['acceptable'] else ''}"


_ABSENCES: dict[str, Callable[[str, str], str]] = {
    "no-folder": lambda name, _: f"there is no {name} here; name it with --baselines",
    "no-timing": lambda name, _: f"{name}timing holds no baseline; make one with `bnsuite accept`",
    "no-timing-of-machine": lambda _, details: (
        f"no baseline for this machine (the nearest has {details}); make one with `bnsuite accept`"
    ),
    "other-machine": lambda name, details: f"{name} was measured on another machine: {details}",
    "other-device": lambda name, details: f"{name} was measured on another device: {details}",
    "disturbed": lambda name, _: f"{name} has it, but INVALID: all of its launches were disturbed",
    "skipped": lambda name, details: f"{name} has it, but SKIPPED: {details or 'no reason given'}",
    "failed": lambda name, details: f"{name} has it, but FAILED: {details or 'no reason given'}",
    "pending": lambda name, _: f"{name} has it, but ended before it was measured",
}


def _no_reference(data: Data) -> str:
    return _ABSENCES[data["cause"]](data["reference"], listed(data["details"], between="; "))


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
        f"broken measurement: {_percent(data['share'])} of copy bandwidth; it can't move its {data['nbytes']} bytes "
        "faster than a copy beside it does"
    )


def _slower(data: Data) -> str:
    parts = [f"slower by {_percent(data['change'])}, where the baseline allows {_percent(data['limit'])}"]
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
        parts.append(f"the median SM clock was {lower:.0f} % lower, which explains it: `nvidia-smi -lgc` locks it")
    if "capped" in seen:
        parts.append(f"the power cap held the clocks for {_percent(seen['capped'])} of the time")
    if "blind" in seen:
        parts.append(blind(seen["blind"]))
    return parts


def blind(spots: Sequence[str]) -> str:
    """Returns the blind spots of the look for other processes, as "could not look: ..."."""
    return f"could not look for other processes: {listed([BLIND_SPOTS.get(one, clipped(one)) for one in spots])}"


def _since(data: Data) -> str:
    return f"controls since then: {_changes(data['controls'])}"


def _advice(data: Data) -> str:
    if data["implementation"] is not None:
        return f"--confirm decides it, or `bnsuite ab . . --impl-b {data['implementation']} -k '{data['case']}'`"
    return f"--confirm decides it, or `bnsuite ab {data['environment'] or 'A'} . -k '{data['case']}'`"


def _ratio(data: Data) -> str:
    return f"takes {data['ratio']:.2f} times as long, the limit is {data['bound']:g} times"


def _change(data: Data) -> str:
    return f"takes {units.change(data['change'])} ({units.change(data['low'])} to {units.change(data['high'])})"


def _launches(number: int) -> str:
    return units.count(number, "launch", "launches")


def _slowdown_confirmed(data: Data) -> str:
    shown = f"{_change(data)}, in {_launches(data['launches'])} and again in {data['confirming']} fresh ones"
    controls = [units.change(change) for change in data["controls"].values()]
    shown = f"{shown}; the controls changed by {listed(controls)}" if controls else shown
    return "; ".join([shown, *_gpu(data)])


def _time_undecided(data: Data) -> str:
    after = f" after {_launches(data['confirming'])} of its own" if data["confirming"] else ""
    kind = f"a slowdown that is not confirmed{after}" if data["flagged"] else "neither slower nor within the margin"
    return "; ".join([f"{_change(data)}: {kind}", _needs(data), *_gpu(data)])


def _needs(data: Data) -> str:
    return f"about {data['needs']} more launches would decide"


def _seeds(number: int) -> str:
    return units.count(number, "seed")


def _metric_lost(data: Data) -> str:
    numbers = [str(seed) for seed in data["seeds"]]
    which = f"seed{'' if len(numbers) == 1 else 's'} {listed(numbers)}"
    return f"{data['metric']}: {data['missing']} on {which}, unlike the baseline"


def _metrics_undecided(data: Data) -> str:
    better = f"{_changes(data['metrics'])}, but " if data["metrics"] else ""
    return f"{better}{_seeds(data['seeds'])} can't settle {listed(data['open'])}; more can: --profile full"


def _value(value: float | str) -> str:
    if isinstance(value, str):
        return clipped(value)
    return "not finite" if value >= NOT_FINITE else f"{value:.4g}"


def _deviation(data: Data) -> str:
    name, value = clipped(data["what"]), _value(data["value"])
    if "expected" in data:
        return f"{name} is {value}, and must be {clipped(data['expected'])}"
    if "limit" in data:
        return f"{name} is {value}, the limit is {data['limit']:g}"
    if "times" in data:
        return f"{name} is {value}, {data['times']:.0f} times the accepted {_value(data['accepted'])}"
    return f"{name} is {value}, and was {_value(data['accepted'])}"


def _deviations(data: Data) -> str:
    return listed([_deviation(one) for one in data["deviations"]], more=data["more"], letters=text.MAX_SENTENCE)


def _beyond_cpus(data: Data) -> str:
    return f"{clipped(data['what'])} is {_value(data['value'])}, and up to {data['limit']:g} on CPUs"


def _not_calibrated(data: Data) -> str:
    """Returns why a GPU is not judged by a limit."""
    what = "it was not measured when this GPU was calibrated" if data["calibrated"] else "this GPU is not calibrated"
    return f"{what} (`bnsuite calibrate`)"


def _gone(data: Data) -> str:
    fix = "; if that is meant, `bnsuite accept` takes it out" if data["acceptable"] else ""
    return f"in {data['reference']}, but not observed: {listed(data['names'], more=data['more'])}{fix}"


def _as_expected(data: Data) -> str:
    pinned = [f"{one['what']}: {one.get('reason') or one['shared_with'] + ' has it too'}" for one in data["pinned"]]
    known = listed(pinned, more=data["more"], letters=text.MAX_SENTENCE)
    return f"as expected, except for known deviations: {known}" if pinned else "as expected"


def _with_pins(data: Data) -> str:
    return f"{_inner(data)}; known, and pinned: {listed(data['pins'], between='; ', letters=text.MAX_SENTENCE)}"


def _reference_says(data: Data) -> str:
    """Returns the reason that the reference gave, with its name; it may begin with that name itself."""
    return f"{data['reference']}: {_inner(data)}"


def _confirmation(data: Data) -> str:
    return f"interleaved with {data['against']}: {_inner(data)}; {_stored(data)}"


def _stored(data: Data) -> str:
    return f"against {data['reference']} it is {_inner(data, 'stored')}"


def _not_confirmed(data: Data) -> str:
    verdict = f"{data['verdict']}: " if "verdict" in data else ""
    return f"{_stored(data)}; not confirmed: {verdict}{_inner(data, 'why')}"


def _peak_above(data: Data) -> str:
    more = units.nbytes(data["peak"] - data["baseline"])
    return f"the peak is {more} above the {units.nbytes(data['baseline'])} of the baseline"


def _kernels_same(data: Data) -> str:
    backend = f"; batch norm {data['batch_norm']}" if data["batch_norm"] else ""
    return f"launches the same {units.count(data['launched'], str(data['of']).removesuffix('s'))}{backend}"


def _kernels_changed(data: Data) -> str:
    told = kernels.words(data["change"])
    if not data["causes"]:
        return f"{told}, though nothing that chooses {data['change']['of']} is known to differ"
    known = f"{told}; known to differ: {listed(data['causes'], between='; ')}"
    return f"{known}; if the times are right, `bnsuite accept` takes it over" if data["acceptable"] else known


_WORDS: dict[ReasonCode, Callable[[Data], str]] = {
    ReasonCode.TEXT: _text,
    ReasonCode.RUN_ENDED: lambda _: "not measured: the run ended before",
    ReasonCode.NOT_MEASURED: lambda _: "the case was not measured",
    ReasonCode.NOT_IN_REFERENCE: _not_in_reference,
    ReasonCode.NO_REFERENCE: _no_reference,
    ReasonCode.OTHER_VERSION: lambda data: (
        f"the baseline is of version {data['baseline']} of this workload, the run of {data['run']}"
    ),
    ReasonCode.OTHER_CONTROLS: lambda _: "the baseline was measured beside other controls",
    ReasonCode.MISSING_CASE: lambda data: (
        f"in {data['reference']}, but not in this run; if the case is gone for good, remove it there"
    ),
    ReasonCode.DISTURBED: _disturbed,
    ReasonCode.FEW_LAUNCHES: lambda data: f"only {_launches(data['launches'])}: the run ended before",
    ReasonCode.FAILED_AFTER_LAUNCHES: lambda data: f"after {_launches(data['launches'])}: {_inner(data)}",
    ReasonCode.FASTER_THAN_COPY: _faster_than_copy,
    ReasonCode.SLOWER: _slower,
    ReasonCode.FASTER: lambda data: f"faster by {_percent(-data['change'])}; {_since(data)}",
    ReasonCode.REHEARSED: lambda _: "rehearsed on a CUDA that is a name: the numbers are no GPU's",
    ReasonCode.WITHIN_LIMIT: lambda data: f"within {_percent(data['limit'])} of the baseline",
    ReasonCode.NOT_WITHIN_LIMIT: lambda data: "; ".join(
        [f"not shown to be within {_percent(data['limit'])} of the baseline", _since(data), *_gpu(data)]
    ),
    ReasonCode.CONTROLS_CHANGED: lambda data: f"the controls changed as much: {_ELSEWHERE}; {_since(data)}",
    ReasonCode.RATIO_ABOVE: lambda data: f"{_ratio(data)}; {_rule(data)}",
    ReasonCode.RATIO_BELOW: _ratio,
    ReasonCode.RATIO_NOT_CALIBRATED: lambda data: (
        f"takes {data['ratio']:.2f} times as long; {_not_calibrated(data)}, {data['assumed']:g} times is assumed"
    ),
    ReasonCode.RATIO_UNDECIDED: lambda data: f"{_ratio(data)}: not shown to be below it",
    ReasonCode.SLOWDOWN_CONFIRMED: _slowdown_confirmed,
    ReasonCode.TIME_COMPARED: lambda data: f"{_change(data)}, in {_launches(data['launches'])}",
    ReasonCode.TIME_UNDECIDED: _time_undecided,
    ReasonCode.NEEDS_LAUNCHES: _needs,
    ReasonCode.ENDED_AFTER_LAUNCHES: lambda data: (
        f"the {data['by']} ended after {_launches(data['launches'])}; {_inner(data)}"
    ),
    ReasonCode.FEW_TO_JUDGE: lambda _: "too few to judge it",
    ReasonCode.BUDGET_ENDED: lambda _: "the budget ended before it was measured",
    ReasonCode.BUDGET_ENDED_AFTER_SEEDS: lambda data: (
        f"the budget ended after {data['seeds']} of {_seeds(data['of'])}; {_inner(data)}"
    ),
    ReasonCode.NO_PEAK: lambda _: "no launch reported its peak",
    ReasonCode.PEAK_WITHIN: lambda data: f"peak of {data['peak']} bytes, {data['baseline']} in the baseline",
    ReasonCode.PEAK_ABOVE: _peak_above,
    ReasonCode.PEAK_BELOW: lambda data: (
        f"the peak is {units.nbytes(data['baseline'] - data['peak'])} below that of the baseline"
    ),
    ReasonCode.GPU_USE_ABOVE: lambda data: (
        f"{units.nbytes(data['used'])} are in use on the GPU, {units.nbytes(data['baseline'])} in the baseline"
    ),
    ReasonCode.PEAKS_DIFFER: lambda data: f"launches disagree: peaks of {data['low']} to {data['high']} bytes",
    ReasonCode.KERNELS_SAME: _kernels_same,
    ReasonCode.KERNELS_CHANGED: _kernels_changed,
    ReasonCode.CURVES_EQUAL: lambda data: f"curves equal to the last bit, {_seeds(data['seeds'])}",
    ReasonCode.NO_COMMON_SEED: lambda _: "the baseline has none of the seeds of this run",
    ReasonCode.FEW_SEEDS: lambda data: (
        f"{_seeds(data['seeds'])} differ{'s' if data['seeds'] == 1 else ''} from the baseline's; more are needed"
    ),
    ReasonCode.METRIC_LOST: _metric_lost,
    ReasonCode.METRICS_WORSE: lambda data: _changes(data["metrics"]),
    ReasonCode.METRICS_BETTER: lambda data: (
        f"{_changes(data['metrics'])}: better, and to be acknowledged with `bnsuite accept`"
    ),
    ReasonCode.METRICS_WITHIN: lambda data: (
        f"every metric within its margin, the farthest: {_changes(data['metrics'])}"
    ),
    ReasonCode.METRICS_UNDECIDED: _metrics_undecided,
    ReasonCode.WITH_FAILURE: lambda data: f"{_inner(data)}; besides, {_inner(data, 'also')}",
    ReasonCode.DEVIATIONS: lambda data: f"{_deviations(data)}; {_rule(data)}",
    ReasonCode.BETTER_THAN_ACCEPTED: lambda data: f"{_deviations(data)}; to be acknowledged with `bnsuite accept`",
    ReasonCode.OBSERVATIONS_GONE: _gone,
    ReasonCode.LIMITS_NOT_CALIBRATED: lambda data: (
        f"{listed([_beyond_cpus(one) for one in data['deviations']], more=data['more'], letters=text.MAX_SENTENCE)}; "
        f"{_not_calibrated(data)}"
    ),
    ReasonCode.OBSERVATIONS_UNKNOWN: lambda data: (
        f"only a baseline can judge {listed(data['names'], more=data['more'])}: {_inner(data)}"
    ),
    ReasonCode.AS_EXPECTED: _as_expected,
    ReasonCode.WITH_PINS: _with_pins,
    ReasonCode.SKIPPED_IN_REFERENCE: _reference_says,
    ReasonCode.FAILED_IN_BOTH: lambda data: f"fails in both; {_reference_says(data)}",
    ReasonCode.FAILED_IN_REFERENCE: lambda data: f"nothing to compare it with; {_reference_says(data)}",
    ReasonCode.ONLY_IN_REFERENCE: lambda data: (
        f"{data['reference']} can do it, and {data['environment']} can't: {_inner(data)}"
    ),
    ReasonCode.CONFIRMATION: _confirmation,
    ReasonCode.NOT_CONFIRMED: _not_confirmed,
}
