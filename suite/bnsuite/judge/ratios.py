"""The timing gate of a relation: one step's time over another's, in the same process, against a fixed bound.

It needs no baseline: what both sides share, they share. A launch is one value, the median over blocks of the
logarithm of the ratio.
"""

from __future__ import annotations

from math import exp, log, sqrt
from statistics import fmean, median, stdev

from bnsuite.judge.statistics import Estimate
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.lines import kind_of_device
from bnsuite.record.schema import CaseResult, Run, Timing

GATE = "timing"
PARTNER = "partner"

#: False alarms of one relation, were it just at its bound.
ALPHA = 0.01
#: PASS is given where the upper end of the two-sided interval of this level lies under the bound.
LEVEL = 0.90
#: A few launches may agree by chance: what they differ by (log scale) is taken together with what that many earlier
#: ones did. Over the 28 relations of a full run, ten undisturbed launches each on two shared virtual cores, the
#: deviation from launch to launch was 0.026 in the median (quartiles 0.013 and 0.048, least 0.005, most 0.14).
#: Relations so unlike one another tell little of the next: moments of their variances (Smyth 2004) give the prior the
#: weight of 1.4 launches. Of all threes of a relation's launches, held against a bound at its own mean, 0.7 % ring
#: falsely before they are repeated (on average; of the least steady relation 13 %).
USUAL_DEVIATION, PRIOR_LAUNCHES = 0.026, 2


def judge(run: Run, result: CaseResult) -> Finding:
    """The finding of a relation that was timed undisturbed in enough launches."""
    bound = result.case.bounds[kind_of_device(run)]
    ratio = _ratio([_value(one) for one in result.undisturbed])
    low, high = ratio.interval(LEVEL)
    above = Estimate(ratio.mean - log(bound), ratio.error, ratio.freedom)
    said = f"takes {exp(ratio.mean):.2f} times as long, {bound:g} times is the most"
    threads = f" (as in {', '.join(result.case.threads[:2])})" if result.case.threads else ""
    if above.mean > 0 and above.p_two_sided() / 2 < ALPHA and _holds_when_repeated(result, bound):
        verdict, text = Verdict.REGRESSED, f"{said}; the rule: {result.case.rule}{threads}"
    elif high < log(bound):
        verdict, text = Verdict.PASS, said
    else:
        verdict, text = Verdict.INCONCLUSIVE, f"{said}: not shown to be under it"
    return Finding(
        case=result.id,
        gate=GATE,
        verdict=verdict,
        summary=text,
        evidence={"ratio": exp(ratio.mean), "low": exp(low), "high": exp(high), "bound": bound},
    )


def _value(timing: Timing) -> float:
    pairs = zip(timing.samples_s, timing.controls_s[PARTNER], strict=True)
    return median(log(this / than) for this, than in pairs)


def _ratio(values: list[float]) -> Estimate:
    """The mean, with an error to which launches before these add what they knew."""
    squares = stdev(values) ** 2 * (len(values) - 1) if len(values) > 1 else 0.0
    freedom = len(values) - 1 + PRIOR_LAUNCHES
    deviation = sqrt((squares + PRIOR_LAUNCHES * USUAL_DEVIATION**2) / freedom)
    return Estimate(fmean(values), deviation / sqrt(len(values)), freedom)


def _holds_when_repeated(result: CaseResult, bound: float) -> bool:
    """Whether the launches made to confirm are beyond the bound too; True if none were made."""
    if not any(one.confirms for one in result.timings):
        return True
    fresh = [_value(one) for one in result.undisturbed if one.confirms]
    return bool(fresh) and fmean(fresh) > log(bound)
