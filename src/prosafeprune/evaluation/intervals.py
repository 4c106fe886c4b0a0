"""Confidence intervals of rates, of their change on the same prompts, and of means.

scipy.stats is imported where it is used: it takes as long to load as all else that a command needs to check its input.
"""

import math
from collections.abc import Sequence

import numpy as np

Interval = tuple[float, float]


def wilson_interval(successes: int, total: int) -> Interval:
    """Return the 95 % Wilson score interval of a rate, as fractions of 1."""
    from scipy.stats import binomtest

    interval = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def paired_change_interval(before: Sequence[bool], after: Sequence[bool]) -> Interval:
    """Return the 95 % interval of ``rate(after) - rate(before)`` on the same prompts, as fractions of 1.

    Newcombe's hybrid score interval for paired proportions (Statistics in Medicine 17, 2635-2650, 1998, method 10):
    the Wilson intervals of the two rates, combined with the correlation between the two measurements.

    Raises:
        ValueError: the lists differ in length or are empty.
    """
    total = len(before)
    if total != len(after) or total == 0:
        raise ValueError("two measurements of the same prompts, at least one, are needed")
    rate_before, rate_after = sum(before) / total, sum(after) / total
    low_before, high_before = wilson_interval(sum(before), total)
    low_after, high_after = wilson_interval(sum(after), total)
    correlation = _corrected_correlation(before, after)
    change = rate_after - rate_before

    def half(one: float, two: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * correlation * one * two + two**2))

    down = half(rate_after - low_after, high_before - rate_before)
    up = half(high_after - rate_after, rate_before - low_before)
    return change - down, change + up


def bootstrap_mean_interval(values: Sequence[float] | np.ndarray, resamples: int = 2000) -> Interval:
    """Return the 95 % percentile bootstrap interval of the mean; equal values give equal intervals."""
    sample = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(0).integers(len(sample), size=(resamples, len(sample)))
    low, high = np.quantile(sample[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def mean_interval(estimates: Sequence[tuple[float, Interval]]) -> Interval:
    """Return the interval of the mean of independent estimates, given that of each.

    The distances to the limits add up by their squares (MOVER; Zou and Donner, Statistics in Medicine 27, 1693-1702,
    2008), as in Newcombe's intervals themselves.
    """
    count = len(estimates)
    mean = sum(estimate for estimate, _ in estimates) / count
    down = math.hypot(*(estimate - low for estimate, (low, _) in estimates)) / count
    up = math.hypot(*(high - estimate for estimate, (_, high) in estimates)) / count
    return mean - down, mean + up


def _corrected_correlation(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Return Newcombe's phi, continuity-corrected when it is positive."""
    total = len(before)
    both = sum(was and now for was, now in zip(before, after, strict=True))
    neither = sum(not was and not now for was, now in zip(before, after, strict=True))
    only_before = sum(before) - both
    only_after = sum(after) - both
    margins = sum(before) * (total - sum(before)) * sum(after) * (total - sum(after))
    if margins == 0:
        return 0.0
    product = float(both * neither - only_before * only_after)
    if product > 0:
        product = max(product - total / 2, 0.0)
    return product / math.sqrt(margins)


def mcnemar_p_value(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Return the two-sided p-value of McNemar's exact test that two rates on the same prompts are equal.

    Only prompts whose outcome changed count: under the null hypothesis either direction is equally likely.
    """
    from scipy.stats import binomtest

    won, lost = changed_outcomes(before, after)
    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0


def decline_p_value(won: int, lost: int) -> float:
    """Return the one-sided p-value of McNemar's exact test that a rate did not fall, from the outcomes that changed.

    The probability of at least ``lost`` bad changes among all changes, if either direction is equally likely.
    """
    from scipy.stats import binomtest

    return float(binomtest(lost, won + lost, 0.5, alternative="greater").pvalue) if won + lost else 1.0


def stratified_mcnemar_p_value(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Return the two-sided exact p-value of the null hypothesis that the mean of two rates did not change.

    Each rate has its own prompts and weighs half. Of the prompts whose outcome changed, either direction is equally
    likely under the null hypothesis, as in McNemar's test; with equally many prompts of both this is McNemar's test of
    all prompts.

    Args:
        one: outcomes that became good, that became bad, and prompts, of the first rate.
        other: the same of the second.
    """
    from scipy.stats import binom

    (won, lost, total), (other_won, other_lost, other_total) = one, other
    observed = abs((won - lost) * other_total + (other_won - other_lost) * total)
    changed, other_changed = won + lost, other_won + other_lost
    nets = (2 * np.arange(other_changed + 1) - other_changed) * total
    chances = binom.pmf(np.arange(other_changed + 1), other_changed, 0.5)
    p_value = 0.0
    for count, chance in enumerate(binom.pmf(np.arange(changed + 1), changed, 0.5)):
        is_as_far = np.abs((2 * count - changed) * other_total + nets) >= observed  # whole numbers, so exact
        p_value += float(chance * chances[is_as_far].sum())
    return min(1.0, p_value)


def changed_outcomes(before: Sequence[bool], after: Sequence[bool]) -> tuple[int, int]:
    """Return how many outcomes changed from bad to good, and from good to bad."""
    pairs = list(zip(before, after, strict=True))
    return sum(now and not was for was, now in pairs), sum(was and not now for was, now in pairs)
