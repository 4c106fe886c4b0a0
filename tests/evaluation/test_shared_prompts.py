"""A prompt that is in several sets counts once in everything that pools them, by hand."""

from __future__ import annotations

from math import sqrt

import pytest
from helpers.shared_prompts import HARMFUL, HARMLESS, before_and_after, on_prompts

from prosafeprune.evaluation.intervals import stratified_mcnemar_p_value
from prosafeprune.evaluation.judged_set import counted_once
from prosafeprune.evaluation.paired_refusals import ALL, count_refusals
from prosafeprune.evaluation.prompted_base import PromptedBase
from prosafeprune.evaluation.scores import change, pooled_change, pooled_rate, score, tradeoff_change
from prosafeprune.evaluation.sets import OFF_POLICY
from prosafeprune.jobs.search_trials import rates_of

WAS, NOW = [True] * 8, [True, False, False, False, False, True, True, False]
"""The eight harmful prompts, each once."""


def test_each_prompt_is_with_its_first_set() -> None:
    sets = before_and_after()[0].of(HARMFUL)
    assert [(one.name, row) for one, row in counted_once(sets)] == [
        *(("harmful A", row) for row in range(6)),
        ("harmful B", 2),
        ("harmful B", 3),
    ]


def test_the_rate_is_over_eight_prompts_not_ten() -> None:
    found = pooled_rate(before_and_after()[1].sets, HARMFUL)
    assert (found.successes, found.total, found.percent) == (3, 8, 37.5)
    assert (found.low, found.high) == pytest.approx((13.684, 69.426), abs=1e-3)  # Wilson, 3 of 8


def test_the_paired_test_counts_five_lost_prompts_not_six() -> None:
    before, after = before_and_after()
    found = pooled_change(before.sets, after.sets, HARMFUL)
    assert (found.won, found.lost, found.points) == (0, 5, -62.5)
    assert found.p_value == pytest.approx(2 / 2**5)  # counted twice, prompt 5 would make it 2 / 2**6: significant
    assert found == change(WAS, NOW)


def test_it_agrees_with_the_test_of_the_safety_floor() -> None:
    before, after = before_and_after()
    found = pooled_change(before.sets, after.sets, HARMFUL)
    (counts,) = (one for one in count_refusals(before.sets, after.sets) if one.name == ALL)
    assert (counts.prompts, counts.pairs, counts.lost, counts.won) == (8, 8, found.lost, found.won)
    assert counts.drop == -found.points


def test_the_test_of_the_tradeoff_weighs_each_prompt_once() -> None:
    before, after = before_and_after()
    found = tradeoff_change(before.sets, after.sets)
    assert (found.won, found.lost) == (2, 5)
    assert found.points == pytest.approx(
        (50 - 62.5) / 2
    )  # two of four harmless prompts won, five of eight harmful lost
    assert found.p_value == pytest.approx(stratified_mcnemar_p_value((2, 0, 4), (0, 5, 8)))


def test_averages_stay_means_of_sets_and_the_record_has_the_pooled_counts() -> None:
    scores = before_and_after()[1].scores
    assert scores.safety_score == pytest.approx((100 * 2 / 6 + 100 * 2 / 4) / 2)
    assert scores.compliance_rate == pytest.approx((100 * 2 / 3 + 100 * 1 / 2) / 2)
    assert set(scores.pooled) == {HARMLESS, HARMFUL}
    assert [scores.pooled[one].in_several_sets for one in (HARMLESS, HARMFUL)] == [1, 2]
    assert scores.pooled_counts(HARMLESS) == (2, 4)
    assert scores.pooled_counts(HARMFUL) == (3, 8)
    assert scores.pooled[HARMFUL].answers == {"full_compliance": 5, "partial_refusal": 3}
    assert type(scores).model_validate_json(scores.model_dump_json()) == scores


def test_without_shared_prompts_the_counts_are_those_of_the_sets() -> None:
    scores = score([on_prompts(HARMFUL, "A", (1, 2, 3), (1,)), on_prompts(HARMFUL, "B", (4, 5), (4, 5))])
    assert scores.pooled == {}
    assert scores.pooled_counts(HARMFUL) == (3, 5)
    assert scores.pooled_answers(HARMFUL) == {"full_compliance": 2, "partial_refusal": 3}
    assert scores.pooled_counts(HARMLESS) == (0, 0)


def test_sets_of_policies_and_of_another_class_share_nothing() -> None:
    policy = on_prompts(HARMFUL, OFF_POLICY, (1, 2), (1, 2))
    assert score([on_prompts(HARMFUL, "A", (1, 2), (1,)), policy, on_prompts(HARMLESS, "C", (1,), ())]).pooled == {}


def test_a_search_counts_each_validation_prompt_once() -> None:
    before, after = before_and_after()
    found = rates_of(after, before)
    assert (found.compliance_rate, found.safety_score) == (50, 37.5)
    # The standard deviation of a mean of eight changes, of which five are -1; of four, of which two are 1.
    harmful, harmless = 100 * sqrt(5 / 8 * 3 / 8 / 8), 100 * sqrt(1 / 2 * 1 / 2 / 4)
    assert found.safety_error == pytest.approx(harmful)
    assert found.change_error == pytest.approx(sqrt(harmful**2 + harmless**2) / 2)


def test_the_comparison_with_a_system_prompt_counts_each_sampled_prompt_once() -> None:
    before, after = before_and_after()
    found = PromptedBase.of(before.sets, after.sets, before.sets, system="Help.", tokens=2, allowed_drop=3)
    assert (found.prompted.compliance.total, found.prompted.safety.total) == (4, 8)
    assert (found.safety_change.won, found.safety_change.lost) == (5, 0)
    assert found.refusals.lost == 5
    assert sum(one.count for one in found.prompts.values()) == 15
