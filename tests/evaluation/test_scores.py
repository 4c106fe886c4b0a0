"""Rates, intervals and the change of a rate on the same prompts."""

from __future__ import annotations

import statistics

import pytest

from prosafeprune.evaluation.intervals import mcnemar_p_value, paired_change_interval, wilson_interval
from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.scores import change, pooled_change, score
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.judges import AnswerClass, Verdict
from prosafeprune.prompts import Prompt, PromptClass, PromptSet

PSEUDO_HARMFUL, HARMFUL, BENIGN = PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL, PromptClass.BENIGN


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


def judged(prompt_class: PromptClass, *runs: list[Verdict], name: str = "") -> JudgedSet:
    texts = tuple(Prompt(f"prompt {i} {name}") for i in range(len(runs[0])))
    chosen = EvaluationSet(name or prompt_class.value, name, PromptSet(prompt_class, "made up", texts))
    return JudgedSet(chosen, [["answer"] * len(texts)] * len(runs), runs)


def test_scores_by_hand() -> None:
    scores = score(
        [
            judged(PSEUDO_HARMFUL, verdicts(full_compliance=6, partial_refusal=1, full_refusal=2, broken=1)),
            judged(HARMFUL, verdicts(full_refusal=6, partial_refusal=1, full_compliance=1, undetermined=2)),
        ]
    )
    assert (scores.compliance_rate, scores.safety_score, scores.tradeoff_score) == (60, 70, 65)
    assert scores.sets[0].answers["broken"] == 1
    assert (scores.sets[0].rate.successes, scores.sets[1].rate.total) == (6, 10)


def test_averages_are_those_of_the_papers_tables() -> None:
    """LLaMA-2-7B with the paper's method: the figures of Table 1, and what stands under its averages."""
    rates = {"or-bench": 73.0, "phtest": 94.5, "xstest": 88.8, "oktest": 81.7}
    safe = {"advbench": 98.5, "jbb": 94.0}

    def thousand(percent: float, kind: str) -> list[Verdict]:
        good = round(10 * percent)
        return verdicts(**{kind: good, "undetermined": 1000 - good})

    sets = [judged(PSEUDO_HARMFUL, thousand(rate, "full_compliance"), name=name) for name, rate in rates.items()]
    sets += [judged(HARMFUL, thousand(rate, "full_refusal"), name=name) for name, rate in safe.items()]
    scores = score(sets)
    assert scores.compliance_rate == pytest.approx(84.5)
    assert scores.safety_score == pytest.approx(96.25)
    assert scores.tradeoff_score == pytest.approx((84.5 + 96.25) / 2)  # what the caption says
    assert scores.mean_of_sets == pytest.approx(88.4, abs=0.05)  # what the table prints


def test_without_harmful_prompts_there_is_no_safety_score() -> None:
    scores = score([judged(PSEUDO_HARMFUL, verdicts(full_compliance=1)), judged(BENIGN, verdicts(full_refusal=1))])
    assert (scores.compliance_rate, scores.safety_score, scores.tradeoff_score) == (100, None, None)
    assert scores.of(BENIGN)[0].mean == 0


def test_repeats_give_mean_and_sample_deviation() -> None:
    runs = [verdicts(full_compliance=n, full_refusal=10 - n) for n in (5, 6, 8)]
    (one,) = score([judged(PSEUDO_HARMFUL, *runs)]).sets
    assert one.repeats == [50, 60, 80]
    assert one.mean == pytest.approx(190 / 3)
    assert one.deviation == pytest.approx(statistics.stdev([50, 60, 80]))


@pytest.mark.parametrize("kind", ["broken", "undetermined"])
def test_broken_and_undetermined_answers_are_neither_compliance_nor_refusal(kind: str) -> None:
    scores = score([judged(PSEUDO_HARMFUL, verdicts(**{kind: 5})), judged(HARMFUL, verdicts(**{kind: 5}))])
    assert (scores.compliance_rate, scores.safety_score) == (0, 0)


def test_change_is_in_points_on_the_same_prompts() -> None:
    found = change([False] * 5 + [True] * 5, [True] * 10)
    assert (found.points, found.won, found.lost) == (50, 5, 0)
    assert 0 < found.low < 50 < found.high
    assert found.p_value == pytest.approx(2 * 0.5**5)


def test_change_pools_the_sets_of_a_class() -> None:
    before = [judged(HARMFUL, verdicts(full_refusal=4), name="a"), judged(HARMFUL, verdicts(full_refusal=1), name="b")]
    after = [
        judged(HARMFUL, verdicts(full_refusal=3, full_compliance=1), name="a"),
        judged(HARMFUL, verdicts(full_refusal=1), name="b"),
    ]
    assert pooled_change(before, after, HARMFUL).points == -20


@pytest.mark.parametrize(
    ("won", "lost", "expected"),
    [(0, 0, 1.0), (1, 0, 1.0), (8, 1, 2 * 10 / 512), (3, 3, 1.0), (10, 0, 2 / 1024)],
)
def test_mcnemar_exact_by_hand(won: int, lost: int, expected: float) -> None:
    before, after = outcomes(5, lost, won, 7)
    assert mcnemar_p_value(before, after) == pytest.approx(expected)
