"""The checks of a host in words: what each observed, its fix, and the lines for terminal, report and JSON.

Observed values come from files of the kernel, and may lie in a damaged or hostile ``doctor.json``: whatever does not
fit is shown as it is, in one line of bounded length.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bnsuite.record.host import CheckState, DoctorStatus, HostCheck, HostReport, NoiseFloor
from bnsuite.report import text, units
from bnsuite.report.doctor_fixes import fix_of
from bnsuite.report.doctor_gpu import GPU_WORDS, listed
from bnsuite.report.judged import Report

Data = Mapping[str, Any]

#: Checks that say nothing of times.
_NOT_OF_TIMES = frozenset({"disk-results", "disk-scratch", "disk-exec"})

#: States as they are counted, the worst first.
_COUNTED = {
    CheckState.DISTURBS: "disturb",
    CheckState.UNKNOWN: "unknown",
    CheckState.OK: "ok",
    CheckState.NOT_APPLICABLE: "not applicable",
}

_HEADS = {
    DoctorStatus.FIT: "fit to measure",
    DoctorStatus.DISTURBED: "not fit to measure undisturbed",
    DoctorStatus.UNKNOWN: "nothing found that disturbs, but not everything could be looked at",
}


def terminal(report: HostReport, *, everything: bool = False) -> str:
    """Returns a line for each check that disturbs or could not look, one of what is fine, and one with the status.

    Checks that could not look for the same cause share a line. `everything` gives a line to each check.
    """
    lines = [line(one) for one in report.checks if everything or one.state is CheckState.DISTURBS]
    if not everything:
        lines += _unknown(report.checks)
    fine = [one.name for one in report.checks if one.state is CheckState.OK]
    if fine and not everything:
        lines.append(f"fine: {', '.join(fine)}")
    lines += map(text.one_line, noise(report.noise))
    return "\n".join([*lines, last_line(report)])


def _unknown(checks: Iterable[HostCheck]) -> Iterator[str]:
    """Yields a line for each cause for which checks could not look."""
    names: dict[str, list[str]] = {}
    for check in checks:
        if check.state is CheckState.UNKNOWN:
            names.setdefault(observed(check), []).append(check.name)
    for cause, some in names.items():
        yield f"{CheckState.UNKNOWN.value} {', '.join(some)}: {cause}"


def last_line(report: HostReport) -> str:
    """Returns the conclusion, the counts and the exit status."""
    states = [one.state for one in report.checks]
    shown = [f"{states.count(state)} {words}" for state, words in _COUNTED.items() if state in states]
    return f"{_HEADS[report.status]}: {', '.join(shown) or 'nothing looked at'} (exit status {report.status.value})"


def line(check: HostCheck) -> str:
    """Returns a check in one line: its state, what it observed, and the fix."""
    parts = [observed(check), *filter(None, [fix(check)])]
    return f"{check.state.value} {check.name}: {'; '.join(parts)}"


def observed(check: HostCheck) -> str:
    """Returns what a check observed, in one line of bounded length, such as "load 3.2 on 2 cores"."""
    return text.clipped(text.one_line(_observed(check)), text.MAX_REASON)


def _observed(check: HostCheck) -> str:
    data = check.observed
    try:
        if check.state is CheckState.UNKNOWN:
            return f"could not look: {data['error']}"
        if check.state is CheckState.NOT_APPLICABLE:
            return _ABSENT[str(data["why"])]
        return _WORDS[check.name](data)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return json.dumps(data)


def fix(check: HostCheck) -> str:
    """Returns the fix of a check in one line; empty where there is nothing to fix."""
    return text.clipped(text.one_line(fix_of(check.fix, check.observed)), text.MAX_REASON) if check.fix else ""


def disturbances(report: Report | HostReport | None) -> list[str]:
    """Returns what disturbed the host as its measurement began, to be named beside verdicts; none if it was quiet.

    One line, such as "this host: load 3.2 on 2 cores; CPU quota 1.5 cores".
    """
    host = report if isinstance(report, HostReport) or report is None else report.host
    if host is None:
        return []
    shown = [observed(one) for one in host.checks if one.state is CheckState.DISTURBS and one.name not in _NOT_OF_TIMES]
    return [f"this host: {text.listed(shown, between='; ', letters=text.MAX_SENTENCE)}"] if shown else []


def markdown(host: HostReport | None) -> list[str]:
    """Returns the section of a report for people on what disturbs the host, as Markdown; none if nothing does."""
    if host is None:
        return []
    lines = [line(one) for one in host.checks if one.state is CheckState.DISTURBS]
    if not lines:
        return []
    listed = "\n".join(f"- {text.markdown(one)}" for one in lines)
    return [f"## The host as the measurement began\n\n{listed}\n"]


def as_json(report: HostReport) -> str:
    """Returns the report as JSON, with each check in words ("text") and the exit status."""
    plain = report.model_dump(mode="json", by_alias=True)
    for record, check in zip(plain["checks"], report.checks, strict=True):
        record["text"], record["fix_text"] = observed(check), fix(check)
    if plain["noise"] is None:
        del plain["noise"]
    else:
        plain["noise"]["text"] = [*noise(report.noise)]
    return json.dumps({**plain, "status": int(report.status)}, indent=1, ensure_ascii=False)


def noise(floor: NoiseFloor | None) -> Iterator[str]:
    """Yields the noise floor in two lines: the deviation of launches, and what a comparison can show."""
    if floor is None:
        return
    launch = units.duration(floor.launch_s)
    yield (
        f"noise floor on {floor.device}: launches of a small layer compared with itself deviate by "
        f"{100 * floor.deviation:.1f} % ({floor.launches} launches, about {launch} each)"
    )
    shown, hidden = [], []
    for one in floor.changes:
        size = f"{100 * one.change:g} %"
        if one.launches is None or one.needs_s is None:
            hidden.append(size)
        else:
            shown.append(f"a change of {size} takes about {units.duration(one.needs_s)} ({one.launches} launches)")
    if hidden:
        most = f"the {2 * floor.most_launches} launches that --profile full makes at most"
        shown.append(f"{' or '.join(hidden)} can't be shown within {most}")
    yield f"`bnsuite ab` of one small layer here: {'; '.join(shown)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _load(data: Data) -> str:
    return f"load {data['load']:.1f} on {units.count(data['cores'], 'core')}"


def _cores(data: Data) -> str:
    return f"{units.count(data['given'], 'core')} given of {data['online']}, {data['needed']} needed"


def _throttling(data: Data) -> str:
    now = f", {data['now']} just now" if data["now"] else ""
    stood = f"{data['throttled_s']:.1f} s"
    return f"throttled in {data['throttled']} of {data['periods']} periods ({stood}){now}"


def _folder(data: Data) -> str:
    inodes = "" if data["free_inodes"] is None else f", {data['free_inodes']:,} inodes"
    writable = "" if data["writable"] else ", not writable"
    return f"{data['folder']} has {units.nbytes(data['free_bytes'])} free{inodes}{writable}"


def _data_set(data: Data) -> str:
    there = f"lacks {data['missing']} of the 4 archives" if data["missing"] else "has the archives"
    return f"{data['folder']} {there}"


def _baseline(data: Data) -> str:
    if "error" in data:
        return str(data["error"])
    if "exists" not in data:
        return f"{data['folder']} has times of this machine"
    if not data["exists"]:
        return f"there is no folder {data['folder']}"
    return f"{data['folder']} has no times of this machine, and of {units.count(data['others'], 'other')}"


def _engine(data: Data) -> str:
    if "error" in data:
        return str(data["error"])
    return f"Docker {data['version']}, cgroup driver {data['cgroup_driver']}"


def _noise(data: Data) -> str:
    if "deviation" in data:
        return f"launches deviate by {_percent(data['deviation'])}"
    if "made" in data:
        return f"{data['undisturbed']} of {units.count(data['made'], 'launch', 'launches')} had a core to themselves"
    return f"no change up to {_percent(data['change'])} can be shown within {2 * data['most_launches']} launches"


_WORDS: dict[str, Callable[[Data], str]] = {
    "cores": _cores,
    "load": _load,
    "cpu-pressure": lambda data: f"tasks waited for a core {_percent(data['share'])} of the last 10 s",
    "core-free": lambda data: f"core {data['core']} was busy {_percent(data['busy'])} of the time",
    "steal": lambda data: (
        f"{_percent(data['share'])} of CPU time stolen, {_percent(data['since_boot'])} since the boot"
    ),
    "governor": lambda data: f"frequency governor {listed(data['governors'])}",
    "turbo": lambda data: f"turbo is {'on' if data['turbo'] else 'off'}",
    "smt": lambda data: (
        f"cores {listed(data['cores'])} share their units with {listed(data['siblings'])}"
        if data.get("siblings")
        else "no core shares its units"
    ),
    "numa": lambda data: f"the given cores lie on {len(data['spanned'])} of {data['nodes']} NUMA nodes",
    "virtual-machine": lambda data: f"virtual machine ({data['hypervisor']})",
    "huge-pages": lambda data: f"transparent huge pages: {data['setting']}",
    "cpu-quota": lambda data: f"CPU quota {data['quota_cores']:g} cores, {data['needed']} needed",
    "cpu-throttling": _throttling,
    "cpuset": lambda data: f"cores {data['cpus']} allowed, {data['online']} there",
    "memory-limit": lambda data: (
        f"memory limit {units.nbytes(data['limit_bytes'])}, {units.nbytes(data['used_bytes'])} in use"
    ),
    "memory": lambda data: (
        f"{units.nbytes(data['available_bytes'])} of {units.nbytes(data['total_bytes'])} of memory available"
    ),
    "swap": lambda data: (
        f"{units.nbytes(data['used_bytes'])} of {units.nbytes(data['total_bytes'])} of swap in use, "
        f"{data['pages_moved']} pages moved just now"
    ),
    "disk-results": _folder,
    "disk-exec": lambda data: (
        f"compiled code {'can' if data['executable'] else 'cannot'} be loaded from {data['folder']}"
    ),
    "disk-scratch": _folder,
    **GPU_WORDS,
    "docker-engine": _engine,
    "data-mnist": _data_set,
    "data-fashion-mnist": _data_set,
    "baseline": _baseline,
    "baseline-torch": lambda data: f"accepted with torch {listed(data['accepted'])}, torch {data['now']} is installed",
    "baseline-age": lambda data: f"accepted {data['days']} days ago",
    "noise": _noise,
}

#: Reasons for which there is nothing to look at.
_ABSENT = {
    "no-gpu": "no NVIDIA GPU here, and none asked for",
    "no-driver": "needs a GPU that answers",
    "not-told": "the driver does not say",
    "no-engine": "no Docker engine to ask",
    "no-limit": "no limit is set",
    "no-swap": "no swap space",
    "no-siblings": "the kernel names no siblings",
    "one-node": "one NUMA node",
    "no-hypervisor": "no sign of a hypervisor",
    "set-by-host": "not set by this kernel",
    "not-in-kernel": "this kernel has none",
    "no-baseline": "no times of this machine",
}
