"""A paired non-inferiority test: the evidence that a rate fell by less than a margin.

Each of ``n`` prompts is answered before and after. ``lost`` outcomes turned from good to bad, ``won`` from bad to good;
with their probabilities ``p_lost`` and ``p_won``, the rate drops by ``p_lost - p_won``. The null hypothesis is a drop
of the margin or more. Prompts with the same outcome before and after carry no information on the direction and enter
only ``n``.

The test is the exact unconditional one of Hsueh, Liu and Chen (Biometrics 57, 478-483, 2001): tables are ordered by the
score statistic of Tango (Statistics in Medicine 17, 891-908, 1998; the same as Nam's, Biometrics 53, 1422-1430, 1997),
and the p-value is the largest probability of a table as favourable as the observed one, over the nuisance parameter
``p_won`` with the drop at the margin. They show that this boundary is the least favourable part of the null hypothesis.

Why not the score test alone: at a margin of 3 points only a few outcomes change, and then the normal approximation
rejects too often. With 115 prompts, a margin of 3 points and a nominal error of 10 %, its real error reaches 13.7 %
(11.2 % with 300); the exact test stays within 10 %, at the cost of at most one changed prompt.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.special import bdtr
from scipy.stats import binom, norm

POWER = 0.8
"""Power of the test for which :func:`pairs_needed` computes the number of prompts."""
COARSE, FINE = 128, 32
"""Grid points of the nuisance parameter: over its range, then around the best of these."""
SMALLEST_GAP = 1e-9
"""Smallest gap between the observed drop and the margin, as a fraction of 1, that more prompts can resolve."""
BOUND_STEPS = 12
"""Bisection steps for the upper bound: to a fortieth of a point."""
AT_ONCE = 2**22
"""Probabilities held in memory at a time."""
MOST_SEARCHED = 20_000
"""Beyond so many prompts, the fewest that pass are those of the bound."""
NEGLIGIBLE = 1e-12
"""Numbers of won outcomes that are less probable than this are skipped."""


def score_statistic(lost: np.ndarray | int, won: np.ndarray | int, total: int, margin: float) -> np.ndarray:
    """Return Tango's score statistic, equations (24)-(26) of his paper; lower is stronger evidence that the rate held.

    ``(lost - won - n margin) / sqrt(n (2 q + margin (1 - margin)))`` with ``q`` the maximum-likelihood estimate of
    ``p_won`` when the drop equals the margin. At a margin of 0 it is McNemar's. Without a changed outcome and a margin
    it is 0 / 0 and counts as 0.

    Args:
        lost: outcomes that turned bad, a number or an array.
        won: outcomes that turned good, a number or an array.
        total: prompts.
        margin: as a fraction of 1, at least 0 and less than 1.
    """
    lost, won = np.asarray(lost, dtype=float), np.asarray(won, dtype=float)
    difference = lost - won - total * margin
    linear = (2 * total - lost + won) * margin - (lost + won)
    root = np.sqrt(linear**2 + 8 * total * won * margin * (1 - margin))
    variance = total * ((root - linear) / (2 * total) + margin * (1 - margin))
    return np.where(variance > 0, difference / np.sqrt(np.maximum(variance, 1e-300)), 0.0)


@lru_cache(maxsize=1024)  # a decision is looked up more often than made
def exact_p_value(lost: int, won: int, total: int, margin: float) -> float:
    """Return the exact unconditional p-value of the null hypothesis that the rate fell by ``margin`` or more.

    Args:
        lost: outcomes that turned bad.
        won: outcomes that turned good.
        total: prompts, at least ``lost + won`` and 1.
        margin: as a fraction of 1, at least 0 and less than 1.

    Raises:
        ValueError: the counts are not those of a paired table, or the margin is out of range.
    """
    if min(lost, won) < 0 or total < max(1, lost + won) or not 0 <= margin < 1:
        raise ValueError(f"{lost} lost and {won} won of {total} at margin {margin} is not a paired table with a margin")
    most_lost = _most_lost(score_statistic(lost, won, total, margin), total, margin)
    top = (1 - margin) / 2
    coarse = top * np.linspace(0, 1, COARSE) ** 2  # changed outcomes are rare: look closely where there are few
    best = int(np.argmax(_probability(coarse, most_lost, total, margin)))
    fine = np.linspace(coarse[max(best - 1, 0)], coarse[min(best + 1, COARSE - 1)], FINE)
    return min(1.0, float(_probability(fine, most_lost, total, margin).max()))


@lru_cache(maxsize=1024)
def upper_bound(lost: int, won: int, total: int, confidence: float) -> float:
    """Return the one-sided upper confidence bound on the drop of the rate, as a fraction of 1.

    Found by inverting :func:`exact_p_value`, to within 0.00025; 1 if all outcomes were lost.
    """
    if lost == total:
        return 1.0
    low, high = max(0.0, (lost - won) / total), 1.0
    for _ in range(BOUND_STEPS):
        middle = (low + high) / 2
        if exact_p_value(lost, won, total, middle) <= 1 - confidence:
            high = middle
        else:
            low = middle
    return high


@lru_cache(maxsize=64)
def fewest_pairs(margin: float, confidence: float) -> int | None:
    """Return the fewest prompts that pass the test when no outcome changes; None with a margin of 0.

    Under the null hypothesis, ``n`` prompts without a loss have a probability of at most ``(1 - margin)^n``. With high
    confidences more are needed, since tables with a loss and many won outcomes are as favourable.
    """
    if margin <= 0:
        return None
    decay = -math.log1p(-margin)  # log1p: 1 - margin is 1 for a margin below 1e-16
    fewest = math.ceil(-math.log(1 - confidence) / decay)
    while fewest <= MOST_SEARCHED and (p_value := exact_p_value(0, 0, fewest, margin)) > 1 - confidence:
        fewest += max(1, int(math.log(p_value / (1 - confidence)) / (2 * decay)))
    return fewest


def pairs_needed(lost: int, won: int, total: int, margin: float, confidence: float) -> int | None:
    """Return how many prompts pass the test with a probability of ``POWER``, at the observed rates of change.

    Nam's formula (1997): ``n = ((z_confidence s_0 + z_power s_1) / (margin - drop))^2``, with ``s_0^2`` the variance of
    one prompt's change under the null hypothesis, as in the score statistic, and ``s_1^2`` that at the observed rates.
    Half an outcome is added to both kinds of change, so that rare ones do not count as impossible. None if the observed
    drop is too close to the margin for more prompts to help.
    """
    rate_lost, rate_won = (lost + 0.5) / (total + 1), (won + 0.5) / (total + 1)
    room = margin - max((lost - won) / total, rate_lost - rate_won)
    if room <= SMALLEST_GAP:
        return None
    linear = (2 - rate_lost + rate_won) * margin - (rate_lost + rate_won)
    root = math.sqrt(linear**2 + 8 * rate_won * margin * (1 - margin))
    under_null = (root - linear) / 2 + margin * (1 - margin)
    observed = rate_lost + rate_won - (rate_lost - rate_won) ** 2
    deviations = norm.ppf(confidence) * math.sqrt(under_null) + norm.ppf(POWER) * math.sqrt(observed)
    return max(math.ceil(float(deviations / room) ** 2), fewest_pairs(margin, confidence) or 0)


def _most_lost(statistic: np.ndarray, total: int, margin: float) -> np.ndarray:
    """Return, for 0 to ``total`` won outcomes, the most lost ones with a statistic of at most ``statistic``, or -1.

    For a given number of won outcomes the statistic increases with the lost ones, so bisection finds them.
    """
    won = np.arange(total + 1)
    low, high = np.full(total + 1, -1), total - won
    while (low < high).any():
        middle = (low + high + 1) // 2
        as_favourable = score_statistic(middle, won, total, margin) <= statistic + 1e-9
        low, high = np.where(as_favourable, middle, low), np.where(as_favourable, high, middle - 1)
    return low


def _probability(p_won: np.ndarray, most_lost: np.ndarray, total: int, margin: float) -> np.ndarray:
    """Return the probability of such tables for each value of ``p_won``, with ``p_lost = p_won + margin``."""
    at_once = max(1, AT_ONCE // (total + 1))
    if len(p_won) > at_once:
        parts = np.array_split(p_won, math.ceil(len(p_won) / at_once))
        return np.concatenate([_probability(part, most_lost, total, margin) for part in parts])
    won = np.arange(total + 1)
    p_won = p_won[:, None]
    lost_if_not_won = np.minimum(1.0, (p_won + margin) / (1 - p_won))
    probability = binom.pmf(won, total, p_won) * (most_lost >= 0)
    row, column = np.nonzero(probability > NEGLIGIBLE)
    probability[row, column] *= bdtr(most_lost[column], total - column, lost_if_not_won[row, 0])
    summed: np.ndarray = probability.sum(axis=1)
    return summed
