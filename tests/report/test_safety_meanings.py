"""Both meanings of S.S. in tables and pages: named apart, and in words that say which one is in use."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
from helpers.pages import Reader, compared, compared_record, judged, record
from helpers.prune_records import PLAN, evaluated, pruned

from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.measure import Measurement, gather
from prosafeprune.evaluation.sets import OFF_POLICY, EvaluationSet
from prosafeprune.files.line_store import LineStore
from prosafeprune.judges import AnswerClass, Verdict
from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.report.comparison_grids import comparison_markdown, rates_by_method
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import Page, render_page
from prosafeprune.report.prune_grids import prune_grid
from prosafeprune.report.rate_grids import rates_grid
from prosafeprune.requests.judging import Safety


def by_guard(refused: int, harmless: int, safety: Safety = "refusal") -> Measurement:
    """Return a model measured by a judge that reports both, on ten prompts of each class."""
    verdicts = [
        Verdict(AnswerClass.FULL_REFUSAL if i < refused else AnswerClass.FULL_COMPLIANCE, "", i >= harmless, safety)
        for i in range(10)
    ]
    harmful = replace(judged(PromptClass.HARMFUL, [True] * 10), verdicts_by_repeat=[verdicts])
    return Measurement([judged(PromptClass.PSEUDO_HARMFUL, [i < 5 for i in range(10)]), harmful])


def column(grid: Grid, heading: str) -> list[str]:
    (place,) = [i for i, one in enumerate(grid.headings) if one == heading]
    return [row[place].split("\n")[0] for row in grid.rows]


def row(grid: Grid, label: str) -> list[str]:
    (found,) = [one for one in grid.rows if one[0] == label]
    return [cell.split("\n")[0] for cell in found[1:] if cell]


def test_a_comparison_has_both_side_by_side() -> None:
    record = compared_record({"default": by_guard(8, 9), "scan": by_guard(3, 7)})
    grid = rates_by_method(record)
    place = list(grid.headings).index("harmful\nS.S. by refusal, 10")
    assert grid.headings[place + 1] == "harmful\nS.S. by harmlessness, 10"
    assert column(grid, grid.headings[place]) == ["80.0", "30.0"]
    assert column(grid, grid.headings[place + 1]) == ["90.0", "70.0"]
    assert column(grid, "Avg.\nS.S.") == ["80.0", "30.0"]
    assert "S.S. by harmlessness" in comparison_markdown(record)
    text = Reader(render_page(compared({"default": by_guard(8, 9), "scan": by_guard(3, 7)}))).text
    assert "S.S. by refusal" in text and "S.S. by harmlessness" in text


def test_by_harmlessness_a_comparison_has_that_first_and_in_its_averages() -> None:
    measured = {"default": by_guard(8, 9, "harmlessness"), "scan": by_guard(3, 7, "harmlessness")}
    grid = rates_by_method(compared_record(measured))
    place = list(grid.headings).index("harmful\nS.S. by harmlessness, 10")
    assert grid.headings[place + 1] == "harmful\nS.S. by refusal, 10"
    assert column(grid, grid.headings[place]) == column(grid, "Avg.\nS.S.") == ["90.0", "70.0"]
    assert column(grid, grid.headings[place + 1]) == ["80.0", "30.0"]


def test_tables_of_prune_and_evaluate_have_a_row_for_each() -> None:
    before, after = by_guard(8, 9), by_guard(3, 7)
    for grid in (prune_grid(record(before, after, PLAN)), *_tables(evaluated(after, before))):
        assert row(grid, "harmful\nS.S. by refusal") == ["80.0", "30.0"]
        assert row(grid, "harmful\nS.S. by harmlessness") == ["90.0", "70.0"]
    alone = rates_grid("rates", after.scores)
    assert (row(alone, "harmful\nS.S. by refusal"), row(alone, "harmful\nS.S. by harmlessness")) == (["30.0"], ["70.0"])


def test_a_judge_that_reports_refusals_only_has_no_second_meaning() -> None:
    one = Measurement([judged(PromptClass.PSEUDO_HARMFUL, [True]), judged(PromptClass.HARMFUL, [True])])
    pages = (pruned(one, one), evaluated(one), compared({"default": one}))
    assert not any("S.S. by" in Reader(render_page(page)).text for page in pages)


@pytest.mark.parametrize(
    "make",
    [
        pruned,
        lambda before, after: evaluated(after),
        lambda before, after: evaluated(after, before),
        lambda before, after: compared({"default": before, "prosafeprune": after}),
    ],
    ids=["prune", "evaluate", "evaluate --against", "compare"],
)
def test_words_follow_what_s_s_counts(make: Callable[[Measurement, Measurement], Page]) -> None:
    texts = {
        safety: Reader(render_page(make(by_guard(8, 9, safety), by_guard(3, 4, safety)))).text
        for safety in ("refusal", "harmlessness")
    }
    refused, harmless = "share of harmful prompts refused", "share of harmful prompts whose answer is not harmful"
    assert refused in texts["refusal"] and harmless not in texts["refusal"]
    assert harmless in texts["harmlessness"] and refused not in texts["harmlessness"]
    counted = re.compile(r"refuses \d|refuses fewer|\d refused|refused: ", re.I)
    assert counted.search(texts["refusal"]) and not counted.search(texts["harmlessness"])
    assert "responds without harm to" in texts["harmlessness"]


def test_a_policy_asks_for_refusals_whatever_s_s_counts() -> None:
    """Off-policy requests are harmless: counted by harmlessness, a model that answers all would keep every policy."""
    row = Verdict(AnswerClass.FULL_COMPLIANCE, "", harmful=False, safety="harmlessness").as_row()
    prompts = PromptSet(PromptClass.HARMFUL, "made up", (Prompt("a"), Prompt("b")))
    stored = {(0, "a"): {"completion": "Sure.", **row}, (0, "b"): {"completion": "Sure.", **row}}
    sets = [EvaluationSet(name, name, prompts) for name in (OFF_POLICY, "harmful")]
    scores = gather(cast(LineStore, stored), cast(LineStore, stored), sets, 1).scores
    assert [(one.policy, one.rate.percent) for one in scores.sets] == [(True, 0), (False, 100)]
    assert scores.safety == "harmlessness"


def test_what_a_record_s_scores_count_is_in_it() -> None:
    assert by_guard(8, 9).scores.safety == "refusal"
    assert by_guard(8, 9, "harmlessness").scores.safety == "harmlessness"
    without_harmful: list[JudgedSet] = [judged(PromptClass.PSEUDO_HARMFUL, [True])]
    assert Measurement(without_harmful).scores.safety == "refusal"


def test_answers_that_count_as_neither_are_shown_by_kind() -> None:
    kinds = [AnswerClass.INCAPABLE] * 2 + [AnswerClass.BROKEN] + [AnswerClass.FULL_COMPLIANCE]
    odd = replace(
        judged(PromptClass.PSEUDO_HARMFUL, [True] * 4), verdicts_by_repeat=[[Verdict(kind, "") for kind in kinds]]
    )
    plain = judged(PromptClass.PSEUDO_HARMFUL, [True] * 4)
    harmful = judged(PromptClass.HARMFUL, [True])
    before, after = Measurement([plain, harmful]), Measurement([odd, harmful])
    for grid in (prune_grid(record(before, after, PLAN)), *_tables(evaluated(after, before))):
        assert row(grid, "incapable\nanswers, counted as neither") == ["0", "2"]
        assert row(grid, "broken\nanswers, counted as neither") == ["0", "1"]
        assert not any(one[0].startswith("undetermined") for one in grid.rows)
    methods = rates_by_method(compared_record({"default": before, "scan": after})).rows
    assert [one[0] for one in methods] == ["default", "scan\n2 incapable\n1 broken"]


def _tables(page: Page) -> list[Grid]:
    return [block for block in page.sections[0].blocks if isinstance(block, Grid)][:1]
