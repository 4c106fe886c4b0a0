"""The non-inferiority test against published examples, enumeration of all tables, and its own promises."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, norm

from prosafeprune.evaluation import non_inferiority
from prosafeprune.evaluation.non_inferiority import (
    exact_p_value,
    fewest_pairs,
    pairs_needed,
    score_statistic,
    upper_bound,
)


def test_the_worked_example_of_tango() -> None:
    """Section 6.1 of Tango (1998): of 44 lenses, 43 effective both ways and one only by the standard; margin 0.1."""
    statistic = float(score_statistic(1, 0, 44, 0.1))
    assert -statistic == pytest.approx(1.709, abs=5e-4)
    assert norm.cdf(statistic) == pytest.approx(0.044, abs=5e-4)
    # The exact p-value is larger, as Hsueh et al. note; with one changed outcome it can be had by hand:
    # at p_won = 0 it is P(at most 1 of 44 lost) = 0.9^44 + 44 * 0.1 * 0.9^43.
    assert exact_p_value(1, 0, 44, 0.1) == pytest.approx(0.9**44 + 44 * 0.1 * 0.9**43)


@pytest.mark.parametrize(
    ("lost", "won", "total", "confidence", "low", "high"),
    [
        (6, 16, 161, 0.975, -0.1240, -0.0054),  # Cavo et al. (2012), in Fagerland, Lydersen and Laake (2017)
        (28, 25, 618, 0.95, -0.0148, 0.0247),  # PropCIs::scoreci.mp(25, 28, 618, 0.90)
        (1, 0, 44, 0.95, None, 0.096),  # Tango (1998), the limit of his worked example
    ],
)
def test_published_intervals_are_where_the_score_statistic_says(
    lost: int, won: int, total: int, confidence: float, low: float | None, high: float
) -> None:
    z = norm.ppf(confidence)
    assert float(score_statistic(lost, won, total, high)) == pytest.approx(-z, abs=0.02)
    if low is not None:  # a drop of -low is a rise, which is seen with before and after swapped
        assert float(score_statistic(won, lost, total, -low)) == pytest.approx(-z, abs=0.02)


def test_without_a_margin_it_is_mcnemars_statistic() -> None:
    assert float(score_statistic(6, 16, 161, 0.0)) == pytest.approx((6 - 16) / math.sqrt(22))
    assert float(score_statistic(0, 0, 161, 0.0)) == 0
    assert exact_p_value(0, 0, 161, 0.0) == pytest.approx(1.0)


def enumerated(lost: int, won: int, total: int, margin: float) -> float:
    """Return the p-value from all tables and a fine grid, with the restricted estimate found by search."""

    def statistic(one: int, two: int) -> float:
        grid = np.linspace(0, (1 - margin) / 2, 20001)[1:-1]
        log = one * np.log(grid + margin) + two * np.log(grid) + (total - one - two) * np.log(1 - margin - 2 * grid)
        q = grid[int(np.argmax(log))] if two else 0.0
        if two == 0:  # the likelihood may be largest at the border
            q = 0.0 if log[0] >= log.max() - 1e-9 else grid[int(np.argmax(log))]
        variance = total * (2 * q + margin * (1 - margin))
        return (one - two - total * margin) / math.sqrt(variance)

    observed = statistic(lost, won)
    tables = [(one, two) for one, two in product(range(total + 1), repeat=2) if one + two <= total]
    as_good = [(one, two) for one, two in tables if statistic(one, two) <= observed + 1e-3]
    best = 0.0
    for q in np.linspace(0, (1 - margin) / 2, 400):
        p, stay = q + margin, max(0.0, 1 - 2 * q - margin)
        best = max(
            best,
            sum(
                math.comb(total, one) * math.comb(total - one, two) * p**one * q**two * stay ** (total - one - two)
                for one, two in as_good
            ),
        )
    return best


@pytest.mark.parametrize(
    ("lost", "won", "total", "margin"),
    [(0, 0, 8, 0.2), (1, 0, 8, 0.2), (1, 2, 8, 0.2), (2, 2, 9, 0.1), (0, 3, 7, 0.05), (3, 1, 6, 0.3), (4, 4, 8, 0.15)],
)
def test_the_exact_p_value_against_all_tables(lost: int, won: int, total: int, margin: float) -> None:
    assert exact_p_value(lost, won, total, margin) == pytest.approx(enumerated(lost, won, total, margin), abs=2e-3)


def test_two_prompts_by_hand() -> None:
    """Margin 0.5, nothing changed: as favourable are nothing changed, one or two won; at p_won = 0, (1 - 0.5)^2."""
    at = np.linspace(0, 0.25, 2001)
    stay = 0.5 - 2 * at
    by_hand = stay**2 + 2 * stay * at + at**2  # (0, 0), (0, 1) and (0, 2)
    assert exact_p_value(0, 0, 2, 0.5) == pytest.approx(by_hand.max())


@pytest.mark.parametrize(("total", "margin"), [(115, 0.03), (60, 0.05), (300, 0.03)])
def test_it_is_wrong_at_most_as_often_as_it_says(total: int, margin: float) -> None:
    """The probability of passing, where the drop is the margin: at most 10 %, whatever else changes."""
    passing = np.full(total + 1, -1)
    lost = 0
    for won in range(41):  # more won than these are as good as impossible at the rates below
        while lost + won <= total and exact_p_value(lost, won, total, margin) <= 0.1:
            lost += 1
        passing[won] = lost - 1
    won = np.arange(total + 1)
    for p_won in (0.0, 0.002, 0.01, 0.03, 0.06):
        passes = binom.pmf(won, total, p_won) * binom.cdf(passing, total - won, (p_won + margin) / (1 - p_won))
        assert passes.sum() <= 0.1 + 1e-6


def test_the_bound_is_the_margin_that_just_passes() -> None:
    for lost, won, total in ((0, 0, 115), (3, 3, 115), (5, 4, 200)):
        bound = upper_bound(lost, won, total, 0.9)
        assert exact_p_value(lost, won, total, bound) <= 0.1
        assert exact_p_value(lost, won, total, bound - 2e-3) > 0.1
    assert upper_bound(115, 0, 115, 0.9) == 1.0
    assert upper_bound(114, 0, 115, 0.9) > 0.99
    assert upper_bound(0, 115, 115, 0.9) < 1e-3
    assert upper_bound(0, 0, 115, 0.9) == pytest.approx(1 - 0.1 ** (1 / 115), abs=2e-4)  # (1 - m)^115 = 0.1


def test_losing_more_or_winning_less_is_never_better() -> None:
    values = [[exact_p_value(lost, won, 120, 0.03) for won in range(5)] for lost in range(5)]
    assert all(values[i][j] <= values[i + 1][j] + 1e-9 for i in range(4) for j in range(5))
    assert all(values[i][j] >= values[i][j + 1] - 1e-9 for i in range(5) for j in range(4))


def test_the_fewest_prompts_are_those_that_pass_when_nothing_changes() -> None:
    assert fewest_pairs(0.03, 0.9) == 76  # 0.97^76 = 0.0988
    assert fewest_pairs(0.0, 0.9) is None
    for margin, confidence in ((0.03, 0.9), (0.05, 0.95), (0.1, 0.9), (0.03, 0.99), (0.3, 0.95)):
        fewest = fewest_pairs(margin, confidence)
        assert fewest is not None
        assert exact_p_value(0, 0, fewest, margin) <= 1 - confidence
        assert exact_p_value(0, 0, fewest - 1, margin) > 1 - confidence


def test_the_prompts_needed_by_hand() -> None:
    """4 lost and 4 won of 99: rates 0.045 each, no drop; the restricted estimate of p_won at 0.05 is 0.0290."""
    linear = 2 * 0.05 - 0.09
    q = (math.sqrt(linear**2 + 8 * 0.045 * 0.05 * 0.95) - linear) / 4
    expected = ((1.2816 * math.sqrt(2 * q + 0.05 * 0.95) + 0.8416 * math.sqrt(0.09)) / 0.05) ** 2
    assert pairs_needed(4, 4, 99, 0.05, 0.9) == pytest.approx(expected, abs=1)


def test_more_prompts_do_not_help_where_the_drop_is_the_margin() -> None:
    assert pairs_needed(5, 0, 100, 0.05, 0.9) is None
    assert pairs_needed(9, 0, 100, 0.05, 0.9) is None


def test_many_prompts_are_tested_in_parts_of_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = exact_p_value.__wrapped__(5, 3, 400, 0.03)
    monkeypatch.setattr(non_inferiority, "AT_ONCE", 1000)
    assert exact_p_value.__wrapped__(5, 3, 400, 0.03) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("margin", [1e-302, 1e-22, 1e-18, 1e-12])
def test_a_margin_of_almost_nothing_needs_more_prompts_than_there_are(margin: float) -> None:
    fewest = fewest_pairs(margin, 0.9)
    assert fewest is not None and fewest > 1e12
    assert pairs_needed(0, 0, 115, margin, 0.9) is None
    assert exact_p_value(0, 0, 115, margin) > 0.1


@pytest.mark.parametrize(("rate_lost", "rate_won"), [(0.02, 0.03), (0.05, 0.08)])
def test_so_many_prompts_pass_as_often_as_promised(rate_lost: float, rate_won: float) -> None:
    total = pairs_needed(round(1e5 * rate_lost), round(1e5 * rate_won), 10**5, 0.03, 0.9)
    assert total is not None
    draws = np.random.default_rng(0).multinomial(total, [rate_lost, rate_won, 1 - rate_lost - rate_won], size=150)
    known: dict[tuple[int, int], bool] = {}
    for lost, won in {(int(one), int(two)) for one, two, _ in draws}:
        known[lost, won] = exact_p_value(lost, won, total, 0.03) <= 0.1
    passed = np.mean([known[int(one), int(two)] for one, two, _ in draws])
    assert 0.65 < passed < 0.92


@pytest.mark.parametrize("counts", [(-1, 0, 5, 0.1), (3, 3, 5, 0.1), (0, 0, 0, 0.1), (0, 0, 5, 1.0), (0, 0, 5, -0.1)])
def test_what_is_no_table_is_an_error(counts: tuple[int, int, int, float]) -> None:
    with pytest.raises(ValueError, match="not a paired table"):
        exact_p_value(*counts)
