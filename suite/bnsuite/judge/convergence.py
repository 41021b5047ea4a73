"""The convergence gate: every training still learns as fast and as far as its accepted curves.

Seeds pair: the same seed starts the same training everywhere. Curves that are equal to the last bit pass at once.
Otherwise each metric is compared seed by seed with a paired t, two-sided, since a loss that improved for no reason is a
change as well; Holm's correction keeps the error level over the metrics of a case. Where the seeds turn out not to
pair, all of the run's are compared with all of the baseline's by Mann-Whitney.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from bnsuite.judge.gate import Accepted, Gate
from bnsuite.judge.outcomes import finding, not_measured, without_reference
from bnsuite.judge.reason import Reason, ReasonCode, Record, reason, text
from bnsuite.judge.statistics import Estimate, correlation, holm, mann_whitney, p_lost, paired, welch
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.lines import kind_of_device
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CaseResult, Curve, Run, Status

GATE = "convergence"

#: The false-alarm rate of one case, over all its metrics.
ALPHA = 0.01
#: PASS is given where the interval of this level lies inside the margin, for every metric.
LEVEL = 0.90
#: A loss below this is compared as if it were this large: 0.0006 against 0.0009 is no 50 % change.
MIN_LOSS = 0.01
MIN_EPOCHS = 0.1
#: With this a change of one percentage point of accuracy is the margin of 3 %, whatever the accuracy.
MIN_ERROR = 1 / 3
#: Seeds whose numbers are correlated less than this, run against baseline, no longer pair: a GPU that adds up in no
#: fixed order, or a training so long that rounding has grown into another one.
WEAKLY_PAIRED = 0.5
MIN_FOR_CORRELATION = 5


def epochs_to_target(curve: Curve, target: float) -> float | None:
    """Returns the epochs until the validation loss first met `target`, interpolated; None if it never did."""
    before = None
    for epoch, loss in enumerate(curve.val_loss):
        if loss is not None and loss <= target:
            if before is None:
                return float(epoch)
            return epoch - 1 + (before - target) / (before - loss)
        before = loss
    return None


@dataclass(frozen=True)
class Metric:
    """One number of a curve, less is better; `margin` is the tolerated relative change."""

    name: str
    margin: float
    #: A baseline under this is compared as if it were this large.
    least: float
    #: The word for a curve that does not have the number.
    absent: str
    of: Callable[[Curve, float], float | None]


METRICS = (
    Metric("epochs to target", 0.02, MIN_EPOCHS, "never", epochs_to_target),
    Metric("early loss", 0.03, MIN_LOSS, "not finite", lambda curve, _: curve.early_loss),
    Metric("final training loss", 0.03, MIN_LOSS, "not finite", lambda curve, _: curve.train_loss[-1]),
    Metric("final validation loss", 0.03, MIN_LOSS, "not finite", lambda curve, _: curve.val_loss[-1]),
    Metric("final error rate", 0.03, MIN_ERROR, "absent", lambda curve, _: _error_rate(curve)),
)


def _error_rate(curve: Curve) -> float | None:
    return 1 - curve.val_accuracy[-1] if curve.val_accuracy else None


@dataclass(frozen=True)
class Comparison:
    """The estimated relative change of a metric, and the probability of one so large were there none."""

    estimate: Estimate
    p: float
    #: "paired" by seed, or "unpaired" where the seeds don't pair.
    how: str


def _compare_numbers(pairs: list[tuple[float, float]], all_old: list[float], least: float) -> Comparison:
    """Returns the change, seed by seed; where the seeds don't pair, of the run's against all of the baseline's."""
    new, old = [a for a, _ in pairs], [b for _, b in pairs]
    if len(pairs) >= MIN_FOR_CORRELATION and correlation(new, old) < WEAKLY_PAIRED:
        scale = max(fmean(all_old), least)
        estimate = welch([a / scale for a in new], [b / scale for b in all_old])
        return Comparison(estimate, mann_whitney(new, all_old), "unpaired")
    estimate = paired([(a - b) / max(b, least) for a, b in pairs])
    return Comparison(estimate, estimate.p_two_sided(), "paired")


def judge(run: Run, reference: Reference) -> list[Finding]:
    """Returns one finding for each case with a convergence gate."""
    return [_judge_case(one, reference) for one in run.cases if GATE in one.outcomes]


def _judge_case(result: CaseResult, reference: Reference) -> Finding:
    outcome = result.outcomes[GATE]
    if outcome.status is Status.SKIPPED or not result.curves:
        return not_measured(result, GATE)
    found = _judge_curves(result, reference)
    if outcome.status is not Status.FAILED:
        return found
    if found.verdict is not Verdict.REGRESSED:
        return not_measured(result, GATE)
    also = reason(ReasonCode.WITH_FAILURE, reason=found.reason, also=text(outcome.reason))
    return found.model_copy(update={"reason": also})


def _judge_curves(result: CaseResult, reference: Reference) -> Finding:
    """Returns the finding of the seeds that were trained, of which there is at least one."""
    stored = reference.convergence.get(result.id)
    if stored is None or stored.version != result.case.version:
        return without_reference(result, GATE, reference, None if stored is None else stored.version)
    accepted = {curve.seed: curve for curve in stored.curves}
    pairs = [(curve, accepted[curve.seed]) for curve in result.curves if curve.seed in accepted]
    if not pairs:
        return finding(result, GATE, Verdict.NO_BASELINE, reason(ReasonCode.NO_COMMON_SEED))
    if all(new == old for new, old in pairs):
        return finding(result, GATE, Verdict.PASS, reason(ReasonCode.CURVES_EQUAL, seeds=len(pairs)))
    return _compare_metrics(pairs, stored.curves, result)


def _lost(pairs: list[tuple[Curve, Curve]], metric: Metric, target: float) -> tuple[list[int], bool]:
    """Returns the seeds on which the baseline has the metric and the run has not, and if that is beyond chance.

    Where the baseline has it on every seed, one is enough; where it misses some by itself, a sign test decides.
    """
    has = [(new.seed, metric.of(new, target) is not None, metric.of(old, target) is not None) for new, old in pairs]
    lost = [seed for seed, new, old in has if old and not new]
    gained = [seed for seed, new, old in has if new and not old]
    always = all(old for _, _, old in has)
    return lost, bool(lost) and (always or p_lost(len(lost), len(gained)) < ALPHA)


def _compare_metrics(pairs: list[tuple[Curve, Curve]], accepted: Sequence[Curve], result: CaseResult) -> Finding:
    target = result.case.target or 0.0
    compared: dict[Metric, Comparison] = {}
    open_ones: list[Metric] = []
    for metric in METRICS:
        lost, surely = _lost(pairs, metric, target)
        if surely:
            why = reason(ReasonCode.METRIC_LOST, metric=metric.name, missing=metric.absent, seeds=[*lost])
            return finding(result, GATE, Verdict.REGRESSED, why)
        both = [(metric.of(new, target), metric.of(old, target)) for new, old in pairs]
        known = [(a, b) for a, b in both if a is not None and b is not None]
        if len(known) > 1:
            all_old = [value for curve in accepted if (value := metric.of(curve, target)) is not None]
            compared[metric] = _compare_numbers(known, all_old, metric.least)
        if lost or (len(known) < 2 and any(old is not None for _, old in both)):
            open_ones.append(metric)
    estimates = {metric: one.estimate for metric, one in compared.items()}
    if not estimates:
        return finding(result, GATE, Verdict.INCONCLUSIVE, reason(ReasonCode.FEW_SEEDS, seeds=len(pairs)))
    p_values = holm([one.p for one in compared.values()])
    changed = {
        metric: estimate
        for (metric, estimate), p in zip(estimates.items(), p_values, strict=True)
        if p < ALPHA and abs(estimate.mean) > metric.margin
    }
    worse = {metric: estimate for metric, estimate in changed.items() if estimate.mean > 0}
    intervals = {metric: estimate.interval(LEVEL) for metric, estimate in estimates.items()}
    # What got better outweighs nothing that may have got worse: of the rest, only what may be better still is settled.
    open_ones += [
        metric
        for metric, (low, high) in intervals.items()
        if metric not in open_ones and (high > metric.margin or (low < -metric.margin and not changed))
    ]
    farthest = max(worse or changed or estimates, key=lambda metric: abs(estimates[metric].mean) / metric.margin)
    changes: Record = {one.name: estimates[one].mean for one in (worse or changed or [farthest])}
    if worse:
        verdict, why = Verdict.REGRESSED, reason(ReasonCode.METRICS_WORSE, metrics=changes)
    elif open_ones:
        verdict, why = Verdict.INCONCLUSIVE, _undecided(changes if changed else {}, open_ones, len(pairs))
    elif changed:
        verdict, why = Verdict.IMPROVED, reason(ReasonCode.METRICS_BETTER, metrics=changes)
    else:
        verdict, why = Verdict.PASS, reason(ReasonCode.METRICS_WITHIN, metrics=changes)
    low, high = intervals[farthest]
    return Finding(
        case=result.id,
        gate=GATE,
        verdict=verdict,
        reason=why,
        change=estimates[farthest].mean,
        low=low,
        high=high,
        evidence={
            "metric": farthest.name,
            "seeds": len(pairs),
            "pairing": compared[farthest].how,
            **_means(pairs, target),
        },
    )


def _undecided(better: Record, open_ones: Iterable[Metric], seeds: int) -> Reason:
    return reason(ReasonCode.METRICS_UNDECIDED, metrics=better, seeds=seeds, open=[metric.name for metric in open_ones])


def _means(pairs: list[tuple[Curve, Curve]], target: float) -> dict[str, float | None]:
    """Returns each metric's mean over the seeds, in the run and in the reference."""
    means: dict[str, float | None] = {}
    for metric in METRICS:
        for side, who in ((0, "run"), (1, "baseline")):
            values = [value for pair in pairs if (value := metric.of(pair[side], target)) is not None]
            means[f"{metric.name} ({who})"] = fmean(values) if values else None
    return means


def _accepted(reference: Reference, run: Run) -> list[Accepted]:
    """Returns the accepted trainings that a run on this kind of device has: a GPU's may be too large for a CPU."""
    devices = {kind_of_device(run), "cpu"}
    return [one for one in reference.convergence.values() if one.device in devices]


CONVERGENCE_GATE = Gate(name=GATE, judge=judge, accepted=_accepted, label_key="metric")
