"""Reasons in words: one table from a reason's code to a function of its data. Units and rounding are chosen here.

Data may come from a damaged or hostile file: whatever does not fit is shown as it is, in one line of bounded length.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from bnsuite.judge.reason import Reason, ReasonCode
from bnsuite.judge.verdict import Finding
from bnsuite.report import kernels, text, units
from bnsuite.report.reasons import checks, reference, times
from bnsuite.report.reasons.shared import Data, changes_in_words, launches, seeds
from bnsuite.report.text import clipped, listed


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


def _metric_lost(data: Data) -> str:
    numbers = [str(seed) for seed in data["seeds"]]
    which = f"seed{'' if len(numbers) == 1 else 's'} {listed(numbers)}"
    return f"{data['metric']}: {data['missing']} on {which}, unlike the baseline"


def _metrics_undecided(data: Data) -> str:
    better = f"{changes_in_words(data['metrics'])}, but " if data["metrics"] else ""
    return f"{better}{seeds(data['seeds'])} can't settle {listed(data['open'])}; more can: --profile full"


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
    **reference.WORDS,
    **times.WORDS,
    **checks.WORDS,
    ReasonCode.TEXT: _text,
    ReasonCode.RUN_ENDED: lambda _: "not measured: the run ended before",
    ReasonCode.NOT_MEASURED: lambda _: "the case was not measured",
    ReasonCode.FAILED_AFTER_LAUNCHES: lambda data: f"after {launches(data['launches'])}: {_inner(data)}",
    ReasonCode.REHEARSED: lambda _: "rehearsed on a CUDA that is a name: the numbers are no GPU's",
    ReasonCode.ENDED_AFTER_LAUNCHES: lambda data: (
        f"the {data['by']} ended after {launches(data['launches'])}; {_inner(data)}"
    ),
    ReasonCode.FEW_TO_JUDGE: lambda _: "too few to judge it",
    ReasonCode.BUDGET_ENDED: lambda _: "the budget ended before it was measured",
    ReasonCode.BUDGET_ENDED_AFTER_SEEDS: lambda data: (
        f"the budget ended after {data['seeds']} of {seeds(data['of'])}; {_inner(data)}"
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
    ReasonCode.CURVES_EQUAL: lambda data: f"curves equal to the last bit, {seeds(data['seeds'])}",
    ReasonCode.NO_COMMON_SEED: lambda _: "the baseline has none of the seeds of this run",
    ReasonCode.FEW_SEEDS: lambda data: (
        f"{seeds(data['seeds'])} differ{'s' if data['seeds'] == 1 else ''} from the baseline's; more are needed"
    ),
    ReasonCode.METRIC_LOST: _metric_lost,
    ReasonCode.METRICS_WORSE: lambda data: changes_in_words(data["metrics"]),
    ReasonCode.METRICS_BETTER: lambda data: (
        f"{changes_in_words(data['metrics'])}: better, and to be acknowledged with `bnsuite accept`"
    ),
    ReasonCode.METRICS_WITHIN: lambda data: (
        f"every metric within its margin, the farthest: {changes_in_words(data['metrics'])}"
    ),
    ReasonCode.METRICS_UNDECIDED: _metrics_undecided,
    ReasonCode.WITH_FAILURE: lambda data: f"{_inner(data)}; besides, {_inner(data, 'also')}",
    ReasonCode.OBSERVATIONS_UNKNOWN: lambda data: (
        f"only a baseline can judge {listed(data['names'], more=data['more'])}: {_inner(data)}"
    ),
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
