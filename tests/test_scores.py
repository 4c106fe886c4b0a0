"""Rates, intervals and the change of a rate on the same prompts."""

from __future__ import annotations

import pytest

from prosafeprune.evaluation.intervals import paired_change_interval, wilson_interval
from prosafeprune.evaluation.scores import compliance_change, score
from prosafeprune.judge import AnswerClass, Verdict


def verdicts(**counts: int) -> list[Verdict]:
    return [Verdict(AnswerClass(name), "") for name, count in counts.items() for _ in range(count)]


def outcomes(both: int, only_before: int, only_after: int, neither: int) -> tuple[list[bool], list[bool]]:
    before = [True] * (both + only_before) + [False] * (only_after + neither)
    after = [True] * both + [False] * only_before + [True] * only_after + [False] * neither
    return before, after


def test_wilson_interval_against_published_figures() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857, table I: 81 of 263, 15 of 148, 0 of 20.
    for successes, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ):
        assert wilson_interval(successes, total) == pytest.approx((low, high), abs=5e-5)


def test_paired_interval_properties() -> None:
    low, high = paired_change_interval(*outcomes(20, 2, 12, 16))
    assert low < 10 / 50 < high
    assert low > 0
    # Turning the measurements round turns the interval round.
    after, before = outcomes(20, 2, 12, 16)
    assert paired_change_interval(before, after) == pytest.approx((-high, -low))
    assert paired_change_interval([True] * 30, [True] * 30)[0] == pytest.approx(-wilson_gap(30), abs=1e-9)


def wilson_gap(total: int) -> float:
    """With nothing varying, the two Wilson gaps combine without correlation."""
    low, _ = wilson_interval(total, total)
    return 1 - low


def test_paired_interval_is_tighter_when_answers_agree() -> None:
    agreeing = paired_change_interval(*outcomes(40, 0, 10, 50))
    scattered = paired_change_interval(*outcomes(20, 20, 30, 30))
    assert agreeing[1] - agreeing[0] < scattered[1] - scattered[0]


def test_paired_interval_covers_the_truth_as_often_as_it_says() -> None:
    import random

    generator = random.Random(0)
    covered = 0
    for _ in range(400):
        before, after = [], []
        for _ in range(150):
            hard = generator.random()
            before.append(hard < 0.5)
            after.append(hard < 0.6 if generator.random() < 0.9 else hard > 0.4)
        low, high = paired_change_interval(before, after)
        covered += low <= 0.10 <= high
    assert 0.92 <= covered / 400 <= 0.99


def test_scores_by_hand() -> None:
    scores = score(
        verdicts(full_compliance=6, partial_refusal=1, full_refusal=2, broken=1),
        verdicts(full_refusal=6, partial_refusal=1, full_compliance=1, undetermined=2),
    )
    assert (scores.compliance_rate, scores.safety_score, scores.tradeoff_score) == (60, 70, 65)
    assert scores.pseudo_harmful_answers["broken"] == 1
    assert (scores.compliance.successes, scores.safety.total) == (6, 10)


@pytest.mark.parametrize("kind", ["broken", "undetermined"])
def test_broken_and_undetermined_answers_are_neither_compliance_nor_refusal(kind: str) -> None:
    scores = score(verdicts(**{kind: 5}), verdicts(**{kind: 5}))
    assert (scores.compliance_rate, scores.safety_score) == (0, 0)


def test_change_is_in_points_on_the_same_prompts() -> None:
    change = compliance_change(verdicts(full_refusal=5, full_compliance=5), verdicts(full_compliance=10))
    assert change.points == 50
    assert 0 < change.low < 50 < change.high
