"""The timing gate of a ratio: one step's time over another's, in the same process, against a bound.

It needs no baseline: what disturbs one side disturbs the other. On a CPU the bound is the shipped one. On a GPU it is
that of the calibration: without one a ratio has no verdict there, except of what is asked of an implementation. The
value of a launch is the median over blocks of the logarithm of the ratio.
"""

from __future__ import annotations

from math import exp, log, sqrt
from statistics import fmean, median, stdev

from bnsuite.judge.reason import ReasonCode, reason
from bnsuite.judge.statistics import Estimate, moderate
from bnsuite.judge.verdict import EvidenceValue, Finding, Verdict
from bnsuite.record.calibration import RATIO
from bnsuite.record.lines import kind_of_device
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CaseResult, Run, Timing

GATE = "timing"
PARTNER = "partner"

#: The false-alarm rate of one ratio, were it just at its bound.
ALPHA = 0.01
#: PASS is given where the upper end of the two-sided interval of this level lies under the bound.
LEVEL = 0.90
#: A few launches may agree by chance: their deviation (log scale) is moderated by that of so many earlier ones. Over
#: the 28 ratios of a full run, ten undisturbed launches each on two shared virtual cores, the deviation from launch to
#: launch was 0.026 in the median (quartiles 0.013 and 0.048, least 0.005, most 0.14). Ratios so unlike one another say
#: little of the next: moments of their variances (Smyth 2004) give the prior the weight of 1.4 launches. Of all threes
#: of a ratio's launches, compared with a bound at its own mean, 0.7 % are a false alarm before they are repeated (on
#: average; of the least steady ratio 13 %).
USUAL_DEVIATION, PRIOR_LAUNCHES = 0.026, 2


def judge(run: Run, result: CaseResult, reference: Reference) -> Finding:
    """Returns the finding of a ratio that was timed undisturbed in enough launches."""
    ratio = _ratio([value(one) for one in result.undisturbed])
    low, high = ratio.interval(LEVEL)
    bound = _bound(run, result, reference)
    if bound is None:
        return _without_bound(run, result, ratio, reference)
    above = Estimate(ratio.mean - log(bound), ratio.error, ratio.freedom)
    measured = {"ratio": exp(ratio.mean), "bound": bound}
    if above.mean > 0 and above.p_two_sided() / 2 < ALPHA and _holds_when_repeated(result, bound):
        verdict = Verdict.REGRESSED
        why = reason(ReasonCode.RATIO_ABOVE, **measured, rule=result.case.rule, threads=[*result.case.threads])
    elif high < log(bound):
        verdict, why = Verdict.PASS, reason(ReasonCode.RATIO_BELOW, **measured)
    else:
        verdict, why = Verdict.INCONCLUSIVE, reason(ReasonCode.RATIO_UNDECIDED, **measured)
    return Finding(
        case=result.id,
        gate=GATE,
        verdict=verdict,
        reason=why,
        evidence={"ratio": exp(ratio.mean), "low": exp(low), "high": exp(high), "bound": bound},
    )


def _without_bound(run: Run, result: CaseResult, ratio: Estimate, reference: Reference) -> Finding:
    """Returns the finding of a ratio of which nobody has measured what it should be.

    A GPU can be calibrated, so the verdict waits for that. A CPU can't: there the ratio is a figure, which is fine.
    """
    low, high = ratio.interval(LEVEL)
    evidence: dict[str, EvidenceValue] = {"ratio": exp(ratio.mean), "low": exp(low), "high": exp(high)}
    shipped = assumed(run, result)
    if kind_of_device(run) == "cpu":
        verdict, why = Verdict.PASS, reason(ReasonCode.RATIO_WITHOUT_BOUND, ratio=exp(ratio.mean))
    else:
        verdict = Verdict.NO_BASELINE
        calibrated = reference.calibration is not None
        why = reason(ReasonCode.RATIO_NOT_CALIBRATED, ratio=exp(ratio.mean), assumed=shipped, calibrated=calibrated)
        evidence["assumed"] = shipped
    return Finding(case=result.id, gate=GATE, verdict=verdict, reason=why, evidence=evidence)


def assumed(run: Run, result: CaseResult) -> float | None:
    """Returns the bound that is shipped for the kind of device that `run` was measured on; None if there is none."""
    return result.case.bounds.get(kind_of_device(run))


def _bound(run: Run, result: CaseResult, reference: Reference) -> float | None:
    """Returns the bound of a ratio on the device of `run`; None if it is to be calibrated there first."""
    if kind_of_device(run) == "cpu" or RATIO not in result.case.to_calibrate:
        return assumed(run, result)
    calibration = reference.calibration
    known = None if calibration is None else calibration.ratio(result.id, result.case.version)
    return None if known is None else known.bound


def value(timing: Timing) -> float:
    """Returns the logarithm of the ratio in one launch."""
    pairs = zip(timing.samples_s, timing.controls_s[PARTNER], strict=True)
    return median(log(this / than) for this, than in pairs)


def _ratio(values: list[float]) -> Estimate:
    """Returns the mean, with a moderated error."""
    variance, freedom = _moderated(values)
    return Estimate(fmean(values), sqrt(variance) / sqrt(len(values)), freedom)


def usual_spread(values: list[float]) -> float:
    """Returns the deviation from launch to launch (log scale), moderated: a few launches may agree by chance."""
    return sqrt(_moderated(values)[0])


def _moderated(values: list[float]) -> tuple[float, float]:
    variance = stdev(values) ** 2 if len(values) > 1 else 0.0
    return moderate(variance, len(values) - 1, USUAL_DEVIATION, PRIOR_LAUNCHES)


def _holds_when_repeated(result: CaseResult, bound: float) -> bool:
    """Returns if the launches made to confirm are beyond the bound too; True if there are none."""
    if not any(one.confirms for one in result.timings):
        return True
    fresh = [value(one) for one in result.undisturbed if one.confirms]
    return bool(fresh) and fmean(fresh) > log(bound)
