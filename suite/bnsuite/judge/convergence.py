"""The convergence gate: every training still learns as fast and as far as its accepted curves.

Seeds pair: the same seed starts the same training everywhere. Curves that are equal to the last bit pass at once.
Otherwise each metric is compared seed by seed with a paired t, two-sided, since a loss that got better for no
reason is a change as well; Holm's correction holds the metrics of a case together. Where the seeds turn out not to
pair, all of the run's are compared with all of the baseline's by Mann-Whitney.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from bnsuite.judge.statistics import Estimate, correlation, holm, mann_whitney, p_lost, paired, welch
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.reference import CurveReference, Reference
from bnsuite.record.schema import CaseResult, Curve, Run, Status

GATE = "convergence"

#: False alarms of one case, over all its metrics.
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
    """After how many epochs the validation loss first met `target`, between epochs by interpolation."""
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
    """One number of a curve, less is better; `margin` is the relative change that is let pass."""

    name: str
    margin: float
    #: A baseline under this is compared as if it were this large.
    least: float
    #: How it is said that there is no number.
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
    """Run against baseline: seed by seed, or where the seeds don't pair, the run's against all of the baseline's."""
    new, old = [a for a, _ in pairs], [b for _, b in pairs]
    if len(pairs) >= MIN_FOR_CORRELATION and correlation(new, old) < WEAKLY_PAIRED:
        scale = max(fmean(all_old), least)
        estimate = welch([a / scale for a in new], [b / scale for b in all_old])
        return Comparison(estimate, mann_whitney(new, all_old), "unpaired")
    estimate = paired([(a - b) / max(b, least) for a, b in pairs])
    return Comparison(estimate, estimate.p_two_sided(), "paired")


def judge(run: Run, reference: Reference) -> list[Finding]:
    """One finding for each case with a convergence gate."""
    return [_judge_case(one, reference) for one in run.cases if GATE in one.outcomes]


def _judge_case(result: CaseResult, reference: Reference) -> Finding:
    def finding(verdict: Verdict, summary: str) -> Finding:
        return Finding(case=result.id, gate=GATE, verdict=verdict, summary=summary)

    outcome = result.outcomes[GATE]
    why = outcome.reason or "no reason given"
    if outcome.status is Status.SKIPPED:
        return finding(Verdict.SKIPPED, why)
    if outcome.status is Status.FAILED:
        seen = _judge_curves(result, reference, finding)
        if seen.verdict is not Verdict.REGRESSED:
            return finding(Verdict.FAILED, why)
        return seen.model_copy(update={"summary": f"{seen.summary}; besides, {why}"})
    return _judge_curves(result, reference, finding)


def _judge_curves(result: CaseResult, reference: Reference, finding: Callable[[Verdict, str], Finding]) -> Finding:
    """What the seeds that were trained show."""
    if not result.curves:
        return finding(Verdict.FAILED, "not measured: the run ended before")
    stored = reference.convergence.get(result.id)
    if stored is None:
        return finding(Verdict.NO_BASELINE, f"not in {reference.name}{reference.advice}")
    if stored.version != result.case.version:
        return finding(
            Verdict.NO_BASELINE,
            f"the baseline is of version {stored.version} of this workload, the run of {result.case.version}",
        )
    return _compare(result, stored, finding)


def _compare(result: CaseResult, stored: CurveReference, finding: Callable[[Verdict, str], Finding]) -> Finding:
    accepted = {curve.seed: curve for curve in stored.curves}
    pairs = [(curve, accepted[curve.seed]) for curve in result.curves if curve.seed in accepted]
    if not pairs:
        return finding(Verdict.NO_BASELINE, "the baseline has none of the seeds of this run")
    if all(new == old for new, old in pairs):
        return finding(Verdict.PASS, f"curves equal to the last bit, {len(pairs)} seeds")
    return _compare_metrics(pairs, stored.curves, result.case.target or 0.0, finding)


def _lost(pairs: list[tuple[Curve, Curve]], metric: Metric, target: float) -> tuple[list[int], bool]:
    """The seeds on which the baseline has the metric and the run has not, and whether that is beyond chance.

    Where the baseline has it on every seed, one is enough; where it misses some by itself, a sign test decides.
    """
    has = [(new.seed, metric.of(new, target) is not None, metric.of(old, target) is not None) for new, old in pairs]
    lost = [seed for seed, new, old in has if old and not new]
    gained = [seed for seed, new, old in has if new and not old]
    always = all(old for _, _, old in has)
    return lost, bool(lost) and (always or p_lost(len(lost), len(gained)) < ALPHA)


def _compare_metrics(
    pairs: list[tuple[Curve, Curve]],
    accepted: Sequence[Curve],
    target: float,
    finding: Callable[[Verdict, str], Finding],
) -> Finding:
    compared: dict[Metric, Comparison] = {}
    open_ones: list[Metric] = []
    for metric in METRICS:
        lost, surely = _lost(pairs, metric, target)
        if surely:
            return finding(Verdict.REGRESSED, f"{metric.name}: {metric.absent} on seeds {lost}, unlike the baseline")
        both = [(metric.of(new, target), metric.of(old, target)) for new, old in pairs]
        known = [(a, b) for a, b in both if a is not None and b is not None]
        if len(known) > 1:
            all_old = [value for curve in accepted if (value := metric.of(curve, target)) is not None]
            compared[metric] = _compare_numbers(known, all_old, metric.least)
        if lost or (len(known) < 2 and any(old is not None for _, old in both)):
            open_ones.append(metric)
    estimates = {metric: one.estimate for metric, one in compared.items()}
    if not estimates:
        return finding(Verdict.INCONCLUSIVE, f"{len(pairs)} seeds differ from the baseline's; more are needed to judge")
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
    shown = max(worse or changed or estimates, key=lambda metric: abs(estimates[metric].mean) / metric.margin)
    said = "; ".join(f"{metric.name} {estimates[metric].mean:+.1%}" for metric in (worse or changed or [shown]))
    if worse:
        verdict, text = Verdict.REGRESSED, said
    elif open_ones:
        names = ", ".join(metric.name for metric in open_ones)
        better = f"{said}, but " if changed else ""
        text = f"{better}{len(pairs)} seeds can't settle {names}; more can: --profile full"
        verdict = Verdict.INCONCLUSIVE
    elif changed:
        verdict, text = Verdict.IMPROVED, f"{said}: better, and to be acknowledged with `bnsuite accept`"
    else:
        verdict, text = Verdict.PASS, f"every metric within its margin, the furthest: {said}"
    low, high = intervals[shown]
    return finding(verdict, text).model_copy(
        update={
            "change": estimates[shown].mean,
            "low": low,
            "high": high,
            "evidence": {
                "metric": shown.name,
                "seeds": len(pairs),
                "pairing": compared[shown].how,
                **_means(pairs, target),
            },
        }
    )


def _means(pairs: list[tuple[Curve, Curve]], target: float) -> dict[str, float | None]:
    """Each metric's mean over the seeds, in the run and in the reference."""
    means: dict[str, float | None] = {}
    for metric in METRICS:
        for side, who in ((0, "run"), (1, "baseline")):
            values = [value for pair in pairs if (value := metric.of(pair[side], target)) is not None]
            means[f"{metric.name} ({who})"] = fmean(values) if values else None
    return means
