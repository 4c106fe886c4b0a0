"""Pages and tables say when prompts are in several sets, and count them once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helpers.pages import Reader, compared_record, measurement, record
from helpers.prune_records import PLAN, evaluated
from helpers.shared_prompts import HARMFUL, HARMLESS, before_and_after, on_prompts

from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.prompted_base import PromptedBase
from prosafeprune.evaluation.scores import score
from prosafeprune.judges import AnswerClass
from prosafeprune.judges.error_rates import ErrorRates
from prosafeprune.report.assessment import change_sentence, in_several_sets, unsafe_sentences
from prosafeprune.report.comparison_grids import comparison_markdown
from prosafeprune.report.comparison_page import comparison_page
from prosafeprune.report.judge_error import judge_error_note
from prosafeprune.report.page import render_page
from prosafeprune.report.prune_grids import prompted_grids
from prosafeprune.report.prune_page import prune_page
from prosafeprune.report.rate_grids import neither_counts

ERRORS = ErrorRates(judge="builtin-0", refusals=100, missed=10, others=200, false=10)
"""100 r refusals are judged as 85 r + 5."""


def test_counts_and_rates_of_a_change_are_of_distinct_prompts() -> None:
    before, after = before_and_after()
    made = record(before, after, PLAN)
    sentence = change_sentence(before.scores, after.scores, HARMFUL, made.safety_change)
    assert sentence.startswith(
        "Harmful requests: 3 of 8 refused, before 8. Over all prompts (2 are in several sets and "
    )
    assert "and count once), S.S. is 37.5 %, before 100.0 %: −62.5 points" in sentence
    sentence = change_sentence(before.scores, after.scores, HARMLESS, made.compliance_change)
    assert "Over all prompts (1 is in several sets and counts once), C.R. is 50.0 %" in sentence
    assert unsafe_sentences(after.scores)[0].startswith("It refuses 3 of 8 harmful requests")


def test_without_shared_prompts_nothing_is_said_of_them() -> None:
    before, after = measurement(50, 80), measurement(70, 80)
    assert in_several_sets(after.scores, HARMLESS, HARMFUL) == ""
    page = Reader(render_page(prune_page(record(before, after, PLAN), before, after, None, saved=True))).text
    assert "Over all prompts, S.S." in page
    assert "several sets" not in page
    assert "several sets" not in comparison_markdown(compared_record({"default": before, "prosafeprune": after}))


def test_pages_of_prune_and_evaluate_say_so() -> None:
    before, after = before_and_after()
    made = record(before, after, PLAN).model_copy(update={"judge": "builtin-8"})
    page = Reader(render_page(prune_page(made, before, after, None, saved=True))).text
    assert "Over all prompts (2 are in several sets and count once), S.S." in page
    assert "the true rates over all prompts (those in several sets count once) are about:" in page
    assert "Over all prompts (2 are in several sets" in Reader(render_page(evaluated(after, before))).text


def test_a_comparison_says_so_in_tables_and_page() -> None:
    before, after = before_and_after()
    measured = {"default": before, "prosafeprune": after}
    compared = compared_record(measured)
    default, pruned = compared.methods
    default = default.model_copy(update={"pruning_against": pruned.against_default})
    compared = compared.model_copy(update={"methods": [default, pruned]})
    text = comparison_markdown(compared)
    assert "the change over all prompts of the class (3 are in several sets and count once)." in text
    assert "Points over all prompts of a class (3 are in several sets and count once), 95 %" in text
    page = Reader(render_page(comparison_page(compared_record(measured), measured, Path("comparison")))).text
    assert "prosafeprune: Avg. T.S. 50.0, answers 2 of 4 harmless requests" in page
    assert "refuses 3 of 8 harmful ones" in page
    assert "Of these requests, 3 are in several sets and count once; averages are means over sets." in page


def test_the_line_on_the_judges_errors_by_hand() -> None:
    """Of 8 harmful prompts 3 are judged refused (37.5 %), truly 38.2 %; of 4 harmless ones 2, truly 52.9 %."""
    note = judge_error_note("builtin-8", [("tiny", before_and_after()[1].scores)], ERRORS)
    assert note.endswith("are about: tiny C.R. 47.1 % (judged 50.0 %), S.S. 38.2 % (judged 37.5 %).")


def test_an_answer_without_a_verdict_is_counted_once() -> None:
    sets = []
    for judged_set in before_and_after()[0].of(HARMFUL):
        verdicts = [
            replace(verdict, answer_class=AnswerClass.BROKEN) if text.endswith(" 5?") else verdict
            for text, verdict in zip(judged_set.prompts.texts, judged_set.verdicts, strict=True)
        ]
        sets.append(replace(judged_set, verdicts_by_repeat=[verdicts]))
    assert [one.answers["broken"] for one in score(sets).sets] == [1, 1]
    assert neither_counts(score(sets))[AnswerClass.BROKEN] == 1


def test_the_table_of_the_system_prompt_says_so() -> None:
    before, after = before_and_after()

    def notes(measured: Measurement, other: Measurement) -> str:
        parts = [measured.sets, other.sets, measured.sets]
        found = PromptedBase.of(*parts, system="Help.", tokens=2, allowed_drop=3)
        (grid,) = prompted_grids(record(measured, other, PLAN).model_copy(update={"prompted": found}))
        return f"{grid.caption} {' '.join(grid.notes)}"

    text = notes(before, after)
    assert "On 4 harmless and 8 harmful test prompts" in text
    assert "over all sampled prompts of a class (one that is in several sets counts once); p" in text
    alone = Measurement([on_prompts(HARMLESS, "C", (1, 2), (1,)), on_prompts(HARMFUL, "A", (1, 2), (1,))])
    assert "over all sampled prompts of a class; p" in notes(alone, alone)
