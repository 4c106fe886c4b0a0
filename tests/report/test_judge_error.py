"""How far the judge's own errors could move C.R. and S.S., against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.pages import Reader, compared_record, judged, measurement, record
from helpers.prune_records import PLAN

from prosafeprune.evaluation.measure import Measurement
from prosafeprune.judges import AnswerClass, Verdict
from prosafeprune.judges.error_rates import ErrorRates, builtin_error_rates
from prosafeprune.prompts import PromptClass
from prosafeprune.report.comparison_grids import comparison_markdown
from prosafeprune.report.comparison_page import comparison_page
from prosafeprune.report.judge_error import judge_error_note
from prosafeprune.report.page import render_page
from prosafeprune.report.prune_page import prune_page

ERRORS = ErrorRates(judge="builtin-0", refusals=100, missed=10, others=200, false=10)
"""It misses 10 % of refusals and calls 5 % of other answers refusals: 100 r refusals are judged as 85 r + 5."""


@pytest.mark.parametrize(
    ("judged_share", "true_share"),
    [(0.05, 0), (0.9, 1), (0.475, 0.5), (0.22, 0.2), (0.02, 0), (0.97, 1)],  # the last two cannot be, with these errors
)
def test_true_shares_by_hand(judged_share: float, true_share: float) -> None:
    assert ERRORS.true_share(judged_share) == pytest.approx(true_share)


def test_the_true_share_is_what_is_judged_so() -> None:
    for true in (0.0, 0.3, 0.77, 1.0):
        seen = true * (1 - ERRORS.missed_share) + (1 - true) * ERRORS.false_share
        assert ERRORS.true_share(seen) == pytest.approx(true)


def test_the_line_has_the_rates_of_this_run() -> None:
    """Of 200 harmless prompts 95 are judged refused, truly 50 %; of 200 harmful ones 129 (64.5 %), truly 70 %."""
    run = measurement(105, 129, total=200, refused_of=200).scores
    note = judge_error_note("builtin-8", [("tiny", run)], ERRORS)
    assert "builtin-0 missed 10.0 % of refusals (10 of 100) and called 5.0 % of other answers refusals" in note
    assert note.endswith("are about: tiny C.R. 50.0 % (judged 52.5 %), S.S. 70.0 % (judged 64.5 %).")
    two = judge_error_note("builtin-8", [("one", run), ("two", run)], ERRORS)
    assert two.endswith("Of a change between models, 85.0 % then shows in the rates as judged.")


def test_answers_that_are_neither_stay_so() -> None:
    """Of 100 answers 30 are broken and 22 judged refused, truly 20: the two others are compliance, 48 judged so."""
    classes = [AnswerClass.BROKEN] * 30 + [AnswerClass.PARTIAL_REFUSAL] * 22 + [AnswerClass.FULL_COMPLIANCE] * 48
    one = judged(PromptClass.PSEUDO_HARMFUL, [True] * 100)
    run = Measurement([replace(one, verdicts_by_repeat=[[Verdict(answer_class, "") for answer_class in classes]])])
    note = judge_error_note("builtin-8", [("tiny", run.scores)], ERRORS)
    assert note.endswith("are about: tiny C.R. 50.0 % (judged 48.0 %).")


def test_rates_stay_within_0_and_100() -> None:
    note = judge_error_note("builtin-8", [("tiny", measurement(100, 100).scores)], ERRORS)
    assert "C.R. 100.0 % (judged 100.0 %), S.S. 100.0 % (judged 100.0 %)" in note


def test_only_the_built_in_judge_was_measured_and_only_on_both_classes() -> None:
    run = measurement(50, 50).scores
    assert not any(judge_error_note(judge, [("tiny", run)]) for judge in ("rules-2", "wildguard:x", "mine builtin-8"))
    benign = Measurement([judged(PromptClass.BENIGN, [True])]).scores
    assert judge_error_note("builtin-8", [("tiny", benign)]) == ""


def test_pages_of_prune_and_compare_have_the_line() -> None:
    before, after = measurement(50, 80), measurement(70, 80)
    rates = builtin_error_rates()
    one = record(before, after, PLAN).model_copy(update={"judge": "builtin-8"})
    measured = {"default": before, "prosafeprune": after}
    two = compared_record(measured).model_copy(update={"judge": "builtin-8"})
    pages = {
        "base model": Reader(render_page(prune_page(one, before, after, None, saved=True))).text,
        "default": Reader(render_page(comparison_page(two, measured, Path("comparison")))).text,
    }
    assert "judged 80.0 %" in comparison_markdown(two)
    for name, text in pages.items():
        answered = 100 * (1 - rates.true_share(0.5))
        refused = 100 * rates.true_share(0.8)
        assert f"about: {name} C.R. {answered:.1f} % (judged 50.0 %), S.S. {refused:.1f} % (judged 80.0 %)" in text
