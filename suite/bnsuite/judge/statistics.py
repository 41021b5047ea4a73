"""Statistics of plain lists of floats; nothing here knows of cases.

scipy.stats takes longer to import than everything else in ``bnsuite check``: scipy.special is used where possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import comb, fsum, sqrt
from statistics import NormalDist, fmean, stdev
from statistics import correlation as pearson


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error and degrees of freedom, under Student's t."""

    mean: float
    error: float
    freedom: float

    def interval(self, level: float) -> tuple[float, float]:
        """Returns the two-sided interval that covers the true mean with probability `level`."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.freedom, (1 + level) / 2)) * self.error
        return self.mean - half, self.mean + half

    def p_above(self, bound: float) -> float:
        """Returns the probability of a mean at least this far above `bound`, were the true one there."""
        from scipy.special import stdtr

        return float(stdtr(self.freedom, -(self.mean - bound) / self.error))

    def p_below(self, bound: float) -> float:
        """Returns the probability of a mean at least this far below `bound`, were the true one there."""
        return 1 - self.p_above(bound)

    def p_two_sided(self) -> float:
        """Returns the probability of a mean at least this far from zero, were the true one zero."""
        from scipy.special import stdtr

        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return 2 * float(stdtr(self.freedom, -abs(self.mean) / self.error))


def normal_quantile(probability: float) -> float:
    """Returns the quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(probability)


@cache
def t_quantile(freedom: int, probability: float) -> float:
    """Returns the quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def paired(differences: Sequence[float]) -> Estimate:
    """Returns the mean of at least two paired differences."""
    n = len(differences)
    return Estimate(fmean(differences), stdev(differences) / sqrt(n), n - 1)


def trimmed(values: Sequence[float], left_out: int) -> Estimate:
    """Returns the mean of at least two values without the `left_out` largest and as many of the least.

    Its error is that of Yuen (1974), "The two-sample trimmed t for unequal population variances": from the deviation
    of the values with those left out moved to the nearest one that stays.
    """
    count, ordered = len(values), sorted(values)
    inner = ordered[left_out : count - left_out]
    moved = [inner[0]] * left_out + inner + [inner[-1]] * left_out
    middle = fsum(moved) / count
    deviation = sqrt(fsum((value - middle) ** 2 for value in moved) / (count - 1))
    error = deviation / (len(inner) / count) / sqrt(count)
    return Estimate(fsum(inner) / len(inner), error, len(inner) - 1)


def moderate(variance: float, freedom: float, usual: float, prior: float) -> tuple[float, float]:
    """Returns a variance drawn towards that of a `usual` deviation with `prior` degrees of freedom, and its freedom.

    G. K. Smyth (2004), "Linear models and empirical Bayes methods for assessing differential expression", with a prior
    that is known instead of fitted.
    """
    moderated_freedom = prior + freedom
    return (prior * usual**2 + freedom * variance) / moderated_freedom, moderated_freedom


def welch(new: Sequence[float], old: Sequence[float]) -> Estimate:
    """Returns the difference of two independent means, of at least two numbers each (Welch 1947)."""
    parts = [(stdev(one) ** 2 / len(one), len(one) - 1) for one in (new, old)]
    difference, variance = fmean(new) - fmean(old), sum(part for part, _ in parts)
    return Estimate(difference, sqrt(variance), satterthwaite(*parts) if variance else len(new) + len(old) - 2)


def mann_whitney(new: Sequence[float], old: Sequence[float]) -> float:
    """Returns the two-sided p-value of the rank-sum test; exact for a few numbers."""
    from scipy.stats import mannwhitneyu  # slow to import, and needed only where seeds don't pair

    return float(mannwhitneyu(new, old).pvalue)


def correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Returns Pearson's correlation; 1 where either is constant, for then nothing speaks against pairing."""
    if stdev(one) == 0 or stdev(other) == 0:
        return 1.0
    return pearson(one, other)


def satterthwaite(*parts: tuple[float, float]) -> float:
    """Returns the degrees of freedom of a sum of variances, each given with its own (Satterthwaite 1946)."""
    total = sum(variance for variance, _ in parts)
    return float(total**2 / sum(variance**2 / freedom for variance, freedom in parts))


def p_lost(lost: int, gained: int) -> float:
    """Returns the one-sided p-value of a sign test: so many losses, were loss and gain equally likely."""
    changed = lost + gained
    return sum(comb(changed, k) for k in range(lost, changed + 1)) / 2.0**changed


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for their number (Holm 1979): each may be compared with the level of the family."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted so that a level q keeps the share of false alarms among alarms under q."""
    count = len(p_values)
    order = sorted(range(count), key=lambda i: p_values[i], reverse=True)
    adjusted = [0.0] * count
    lowest = 1.0
    for rank, i in enumerate(order):
        lowest = min(lowest, p_values[i] * count / (count - rank))
        adjusted[i] = lowest
    return adjusted


def share_interval(hits: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Returns the two-sided interval of a share, given `hits` of `of` (Clopper & Pearson 1934)."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(hits, of - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, of - hits, 1 - tail)) if hits < of else 1.0
    return low, high
