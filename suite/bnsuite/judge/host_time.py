"""The host's part in the time of a GPU: what it took to launch a step, beside the time that is judged.

It is shown with every case of a GPU, and decides nothing: the time that is judged is the GPU's own for a layer, and the
elapsed time, which contains the host, for a training.
"""

from __future__ import annotations

from statistics import median

from bnsuite.judge.verdict import EvidenceValue, Finding
from bnsuite.record.interleaved import PairedCase
from bnsuite.record.schema import CaseResult, Timing

#: The control that shows how long the host takes to launch the smallest work.
LAUNCH = "launch"
#: The name under which a ratio has the host's time for the case that it is compared with.
PARTNER_HOST = "partner_host"


def launch_bound(result: CaseResult) -> bool:
    """Returns if the host launches a step more slowly than the GPU works on it, in most launches that count."""
    known = [_launch_bound(one) for one in _launches(result)]
    return 2 * sum(known) > len(known)


def _launch_bound(timing: Timing) -> bool:
    return bool(timing.held) and timing.host_s is not None and median(timing.host_s) > median(timing.samples_s)


def with_host_time(found: Finding, result: CaseResult) -> Finding:
    """Returns a timing finding with the host's part in its evidence; the same on a CPU."""
    launches = _launches(result)
    if not launches:
        return found
    host: dict[str, EvidenceValue] = {
        "host_s": median(median(one.host_s) for one in launches if one.host_s is not None),
        "timed_by": "device" if all(one.held for one in launches) else "elapsed",
        "launch_bound": int(launch_bound(result)),
    }
    ratios = [_host_ratio(one) for one in launches]
    if known := [one for one in ratios if one is not None]:
        host["host_ratio"] = median(known)
    return found.model_copy(update={"evidence": {**found.evidence, **host}})


def host_change(compared: PairedCase | None) -> dict[str, EvidenceValue]:
    """Returns how much longer B's host takes to launch a step, as evidence of a comparison; nothing on a CPU."""
    launches = compared.launches if compared is not None else ()
    ratios = [_middle(one.b_host_rounds_s) / _middle(one.a_host_rounds_s) for one in launches if one.a_host_rounds_s]
    return {"host_change": median(ratios) - 1} if ratios else {}


def _middle(blocks: tuple[tuple[float, ...], ...]) -> float:
    return median(seconds for block in blocks for seconds in block)


def _host_ratio(timing: Timing) -> float | None:
    """Returns how many times as long the host takes for the one step of a ratio as for the other; None for no ratio."""
    other = timing.controls_s.get(PARTNER_HOST)
    return None if other is None or timing.host_s is None else median(timing.host_s) / median(other)


def relevant_controls(names: set[str], result: CaseResult) -> set[str]:
    """Returns the controls that could explain a change: a slower host is no reason for a slower GPU."""
    launches = _launches(result)
    held = bool(launches) and all(one.held for one in launches)
    return names - {LAUNCH} if held and names != {LAUNCH} else names


def _launches(result: CaseResult) -> list[Timing]:
    return [one for one in result.undisturbed if one.host_s is not None]
