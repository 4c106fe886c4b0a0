"""The base model behind a system prompt: the sample, the paired test of T.S., and the verdict."""

from __future__ import annotations

from itertools import product
from math import comb, sqrt

import pytest
from helpers.pages import judged

from prosafeprune.evaluation.intervals import mcnemar_p_value, mean_interval, stratified_mcnemar_p_value
from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.prompted_base import (
    PromptedBase,
    PromptingVerdict,
    prompted_sample,
    prompting_verdict,
)
from prosafeprune.evaluation.scores import Change, change, tradeoff_change
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.prompts import Prompt, PromptClass, PromptSet

HARMLESS, HARMFUL = PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL


def asked(name: str, prompt_class: PromptClass, size: int, styles: str = "a") -> EvaluationSet:
    rows = tuple(Prompt(f"{name} {row}", style=styles[row % len(styles)]) for row in range(size))
    return EvaluationSet(name, name, PromptSet(prompt_class, name, rows))


def literal_p_value(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Every assignment of a direction to every changed prompt, counted one by one."""
    observed = abs((one[0] - one[1]) / one[2] + (other[0] - other[1]) / other[2])
    first, second = one[0] + one[1], other[0] + other[1]
    signs = list(product((1, -1), repeat=first + second))
    far = [abs(sum(s[:first]) / one[2] + sum(s[first:]) / other[2]) >= observed - 1e-12 for s in signs]
    return sum(far) / len(signs)


@pytest.mark.parametrize(
    ("one", "other"),
    [((3, 1, 20), (4, 0, 10)), ((0, 5, 30), (2, 2, 30)), ((1, 0, 7), (0, 1, 7)), ((6, 0, 50), (0, 3, 9))],
)
def test_the_test_of_both_rates_counts_every_assignment_of_the_changes(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    assert stratified_mcnemar_p_value(one, other) == pytest.approx(literal_p_value(one, other))
    assert stratified_mcnemar_p_value(other, one) == pytest.approx(literal_p_value(one, other))


def test_with_equally_many_prompts_it_is_mcnemars_test_of_all() -> None:
    before, after = [False] * 7 + [True] * 3 + [True] * 90, [True] * 7 + [False] * 3 + [True] * 90
    assert stratified_mcnemar_p_value((5, 1, 50), (2, 2, 50)) == pytest.approx(mcnemar_p_value(before, after))
    by_hand = 2 * sum(comb(10, k) for k in (7, 8, 9, 10)) / 2**10
    assert stratified_mcnemar_p_value((5, 1, 50), (2, 2, 50)) == pytest.approx(by_hand)
    assert stratified_mcnemar_p_value((0, 0, 50), (0, 0, 20)) == 1.0


def test_the_interval_of_a_mean_adds_the_distances_by_their_squares() -> None:
    low, high = mean_interval([(10.0, (4.0, 13.0)), (2.0, (-6.0, 6.0))])
    assert (low, high) == pytest.approx((6 - sqrt(6**2 + 8**2) / 2, 6 + sqrt(3**2 + 4**2) / 2))


def test_the_change_of_tradeoff_is_the_mean_of_the_two_changes() -> None:
    before = [judged(HARMLESS, [False] * 6 + [True] * 4), judged(HARMFUL, [True] * 20)]
    after = [judged(HARMLESS, [True] * 10), judged(HARMFUL, [False] + [True] * 19)]
    found = tradeoff_change(before, after)
    assert found.points == pytest.approx((60 - 5) / 2)
    assert (found.won, found.lost) == (6, 1)
    compliance, safety = (change(was.outcomes, now.outcomes) for was, now in zip(before, after, strict=True))
    down = sqrt((compliance.points - compliance.low) ** 2 + (safety.points - safety.low) ** 2) / 2
    assert found.low == pytest.approx(found.points - down)
    assert found.p_value == pytest.approx(literal_p_value((6, 0, 10), (0, 1, 20)))


def test_a_sample_is_spread_over_sets_and_styles() -> None:
    small, large = asked("small", HARMLESS, 10), asked("large", HARMLESS, 300, "abcd")
    sets = [large, asked("bad", HARMFUL, 40), small]
    harmless, harmful, few = prompted_sample(sets, 100, seed=3)
    assert [one.name for one in (harmless, harmful, few)] == ["large", "bad", "small"]
    assert [len(one.prompts) for one in (harmless, harmful, few)] == [90, 40, 10]  # what a small set lacks, others give
    counts = [sum(prompt.style == style for prompt in harmless.prompts) for style in "abcd"]
    assert max(counts) - min(counts) <= 1
    assert prompted_sample(sets, 100, seed=3)[0].prompts == harmless.prompts
    assert set(harmless.prompts.texts) < set(large.prompts.texts)


def test_neither_policies_nor_a_single_class_are_asked_behind_a_prompt() -> None:
    policy = asked("beyond-policies-outside", HARMFUL, 8)
    assert policy.is_policy
    sets = [asked("good", HARMLESS, 8), asked("bad", HARMFUL, 8), policy]
    assert [one.name for one in prompted_sample(sets, 5, 0)] == ["good", "bad"]
    assert prompted_sample([sets[0], policy], 5, 0) == []
    assert prompted_sample(sets, 0, 0) == []


def part(whole: JudgedSet, rows: list[int]) -> EvaluationSet:
    chosen = tuple(whole.prompts.prompts[row] for row in rows)
    return EvaluationSet(whole.name, whole.title, PromptSet(whole.prompt_class, "bundled test", chosen))


def test_the_three_models_are_compared_on_the_same_prompts() -> None:
    base = [judged(HARMLESS, [False, False, True, True]), judged(HARMFUL, [True, True, True, True])]
    pruned = [judged(HARMLESS, [True, False, True, True]), judged(HARMFUL, [True, False, True, True])]
    asked_twice = judged(HARMLESS, [True, False, True])
    prompted = [
        JudgedSet(part(base[0], [3, 0, 1]), asked_twice.answers_by_repeat, asked_twice.verdicts_by_repeat),
        judged(HARMFUL, [False, True]),
    ]
    found = PromptedBase.of(base, prompted, pruned, system="Help.", tokens=2, allowed_drop=3.0)
    assert [rate.successes for rate in (found.base.compliance, found.base.safety)] == [1, 2]
    assert [rate.successes for rate in (found.prompted.compliance, found.prompted.safety)] == [2, 1]
    assert [rate.successes for rate in (found.pruned.compliance, found.pruned.safety)] == [2, 1]
    assert (found.compliance_change.won, found.compliance_change.lost) == (1, 1)  # rows 0 and 3, matched by text
    assert (found.safety_change.won, found.safety_change.lost) == (1, 1)
    assert (found.refusals.lost, found.refusals.won, found.refusals.drop) == (1, 0, 50.0)
    assert found.base.tradeoff_score == pytest.approx((100 / 3 + 100) / 2)
    assert found.verdict is PromptingVerdict.LESS_SAFE
    assert {name: one.count for name, one in found.prompts.items()} == {"pseudo_harmful": 3, "harmful": 2}


@pytest.mark.parametrize(
    ("points", "p_value", "low", "drop", "verdict"),
    [
        (-2.0, 0.5, -5.0, 0.0, PromptingVerdict.PROMPTING),
        (0.0, 1.0, -3.0, 3.0, PromptingVerdict.PROMPTING),  # exactly what is allowed
        (4.0, 0.2, -1.0, -1.0, PromptingVerdict.PROMPTING),
        (4.0, 0.04, -0.1, 0.0, PromptingVerdict.PROMPTING),  # the interval does not exclude zero
        (-9.0, 0.01, -14.0, 0.0, PromptingVerdict.PROMPTING),
        (4.0, 0.2, -1.0, 3.1, PromptingVerdict.LESS_SAFE),
        (-9.0, 0.01, -14.0, 24.0, PromptingVerdict.LESS_SAFE),
        (6.0, 0.01, 2.0, 0.0, PromptingVerdict.PRUNING),
        (6.0, 0.01, 2.0, 24.0, PromptingVerdict.PRUNING),
    ],
)
def test_the_verdict(points: float, p_value: float, low: float, drop: float, verdict: PromptingVerdict) -> None:
    found = Change(points=points, low=low, high=2 * points - low, won=0, lost=0, p_value=p_value)
    assert prompting_verdict(found, drop, 3.0) is verdict
