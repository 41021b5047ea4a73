"""The statistics against scipy.stats, and their error rates by running."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from bnsuite.judge import statistics
from bnsuite.judge.statistics import benjamini_hochberg, holm, p_lost, paired, satterthwaite


def test_paired_is_the_paired_t_test() -> None:
    """Estimate, p-values and interval are those of scipy's one-sample t."""
    differences = [0.03, -0.01, 0.04, 0.02, 0.05]
    estimate, theirs = paired(differences), stats.ttest_1samp(differences, 0)
    assert estimate.p_two_sided() == pytest.approx(theirs.pvalue)
    assert estimate.interval(0.9) == pytest.approx(tuple(theirs.confidence_interval(0.9)))


def test_a_trimmed_mean_is_scipys() -> None:
    """The mean and its error; without trimming they are those of the t test."""
    values = [0.01, -0.02, 0.03, 0.5, 0.02, -0.4, 0.0, 0.015, 0.04]
    estimate = statistics.trimmed(values, 1)
    assert estimate.mean == pytest.approx(stats.trim_mean(values, 1 / 9))
    assert estimate.error == pytest.approx(float(stats.mstats.trimmed_stde(values, limits=(1 / 9, 1 / 9))))
    assert estimate.freedom == 6
    plain, theirs = statistics.trimmed(values, 0), stats.ttest_1samp(values, 0)
    assert plain.p_two_sided() == pytest.approx(theirs.pvalue)


def test_no_spread_is_certainty() -> None:
    """Equal differences have no error: zero is zero, and anything else is sure."""
    assert paired([0.0, 0.0, 0.0]).p_two_sided() == 1
    assert paired([0.1, 0.1, 0.1]).p_two_sided() == 0


def test_a_moderated_variance_lies_between_its_own_and_the_usual() -> None:
    """Each counts by its degrees of freedom; without a prior nothing changes."""
    assert statistics.moderate(4.0, 3, 1.0, 0) == (4.0, 3)
    assert statistics.moderate(4.0, 3, 1.0, 3) == (2.5, 6)
    assert statistics.moderate(0.0, 0, 0.5, 2) == (0.25, 2)


def test_corrections_against_known_values() -> None:
    """Holm and Benjamini-Hochberg, as scipy and the papers have them."""
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p) == pytest.approx(list(stats.false_discovery_control(p)))
    assert holm([]) == benjamini_hochberg([]) == []


def test_sign_test_and_degrees_of_freedom() -> None:
    """Against scipy's exact binomial test, and Satterthwaite's own limits."""
    assert p_lost(7, 0) == pytest.approx(stats.binomtest(7, 7, alternative="greater").pvalue)
    assert p_lost(5, 2) == pytest.approx(stats.binomtest(5, 7, alternative="greater").pvalue)
    assert satterthwaite((1.0, 4), (0.0, 100)) == 4
    assert satterthwaite((1.0, 4), (1.0, 4)) == 8


def test_holm_keeps_the_family_error() -> None:
    """Of 4,000 families of four true nulls about one in a hundred is a false alarm at the 1 % level."""
    chance = random.Random(0)
    alarms = sum(min(holm([chance.random() for _ in range(4)])) < 0.01 for _ in range(4000))
    assert alarms < 4000 * 0.016


def test_unpaired_numbers() -> None:
    """Welch's t as scipy has it; ranks as scipy has them; correlation 1 where nothing moves."""
    from scipy import stats

    new, old = [1.0, 1.2, 1.1, 1.4, 1.05], [0.9, 1.0, 0.95, 1.1, 0.97, 0.99]
    estimate = statistics.welch(new, old)
    expected = stats.ttest_ind(new, old, equal_var=False)
    assert estimate.p_two_sided() == pytest.approx(expected.pvalue)
    assert estimate.interval(0.9) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert statistics.mann_whitney(new, old) == pytest.approx(stats.mannwhitneyu(new, old).pvalue)
    assert statistics.correlation(new, [2 * one for one in new]) == pytest.approx(1.0)
    assert statistics.correlation([1.0, 1.0], [1.0, 2.0]) == 1.0
