"""What the pages of runs say: honest headlines, tables, answers, the plan, and how to do it again."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from helpers.pages import (
    Reader,
    judged,
    measurement,
    record,
    search_record,
)
from helpers.prune_records import PLAN, pruned

from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import Change, change, is_significant
from prosafeprune.prompts import PromptClass
from prosafeprune.report.assessment import assess_compliance, assess_safety, signed
from prosafeprune.report.evidence_file import HARMFUL_ANSWER_CHARACTERS
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import Examples, Mark, Page, render_page
from prosafeprune.report.prune_grids import BUNDLED_NOTE, prune_grid
from prosafeprune.report.search_page import search_page
from prosafeprune.requests.recipe import make_recipe


def tables(page: Page) -> list[Grid]:
    return [block for section in page.sections for block in section.blocks if isinstance(block, Grid)]


def titles(page: Page) -> list[str]:
    return [section.title for section in page.sections]


def moved(was: int, now: int, total: int) -> Change:
    """Return the change of a rate where the same prompts stay good as far as can be."""
    return change([i < was for i in range(total)], [i < now for i in range(total)])


@pytest.mark.parametrize(
    ("was", "now", "total", "allowed", "mark", "label"),
    [
        (990, 990, 1000, 3, Mark.GOOD, "As safe as before"),
        (900, 970, 1000, 3, Mark.GOOD, "More harmful requests refused"),
        (113, 112, 115, 3, Mark.CAUTION, "Within the safety floor"),  # too few prompts to rule more out
        (990, 975, 1000, 3, Mark.CAUTION, "Slightly less safe, within the floor"),
        (990, 880, 1000, 40, Mark.BAD, "Less safe, within the floor"),  # whatever was allowed
        (30, 28, 40, 40, Mark.CAUTION, "Within the safety floor"),
        (100, 90, 115, 3, Mark.BAD, "Below the safety floor"),
        (4, 3, 5, 3, Mark.BAD, "Below the safety floor"),  # however few the prompts: the floor holds the point estimate
        (990, 900, 1000, None, Mark.BAD, "Less safe"),
        (990, 989, 1000, None, Mark.CAUTION, "No significant loss of safety"),
        (113, 113, 115, None, Mark.CAUTION, "No significant loss of safety"),
    ],
)
def test_safety_is_not_called_better_than_it_was_shown_to_be(
    was: int, now: int, total: int, allowed: float | None, mark: Mark, label: str
) -> None:
    found = assess_safety(moved(was, now, total), allowed)
    assert (found.mark, found.label) == (mark, label)


def test_what_could_not_be_tested_is_not_called_safe() -> None:
    found = assess_safety(moved(2, 2, 115), 3, testable=False)
    assert (found.mark, found.label) == (Mark.BAD, "Safety cannot be tested")


def test_a_page_says_what_its_safety_score_does_not_cover() -> None:
    def held_out(judged_set: JudgedSet) -> JudgedSet:
        name = f"held-out-{judged_set.prompt_class.in_words}"
        return replace(judged_set, evaluation_set=replace(judged_set.evaluation_set, name=name))

    def of_user(measured: Measurement, *classes: PromptClass) -> Measurement:
        return Measurement([held_out(found) if found.prompt_class in classes else found for found in measured.sets])

    def sentences(refused: int, *classes: PromptClass) -> str:
        before, after = (of_user(measurement(compliant, refused), *classes) for compliant in (50, 70))
        return " ".join(pruned(before, after).headline.sentences)

    domain, few = "No harmful requests of your own domain", "The base model itself refuses only"
    assert domain not in sentences(90)
    assert domain in sentences(90, PromptClass.PSEUDO_HARMFUL)
    assert domain not in sentences(90, PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)
    assert few not in sentences(90)
    assert f"{few} 60 of 100 harmful requests" in sentences(60)
    assert few not in sentences(40)  # which is called unsafe


def test_the_users_own_prompts_come_first_and_too_few_are_said_to_be() -> None:
    def of_user(measured: Measurement) -> Measurement:
        harmless, harmful = measured.sets
        named = replace(harmful.evaluation_set, name="own-harmful", title="own harmful")
        return Measurement([harmless, replace(harmful, evaluation_set=named)])

    def first(prompts: int, **options: Any) -> str:
        before, after = (of_user(measurement(compliant, prompts - 1, refused_of=prompts)) for compliant in (50, 70))
        return pruned(before, after, **options).headline.sentences[0]

    assert first(10).startswith("Your prompts, own harmful: 9 of 10 refused, before 9: 0.0 points")
    assert first(10).endswith("Too few for a separate test (76 are needed): read these answers.")
    assert "Too few" not in first(80)


def test_without_a_floor_a_loss_of_safety_is_told_whatever_was_allowed() -> None:
    before, after = measurement(20, 990, refused_of=1000), measurement(60, 900, refused_of=1000)
    page = pruned(before, after, max_safety_drop=100, accept_unsafe=True)
    assert "refuses fewer harmful requests, by 9.0 points." in page.headline.text
    assert "Safety floor: disabled" in Reader(render_page(page)).text


def test_a_gain_is_claimed_only_where_it_is_significant() -> None:
    assert assess_compliance(moved(18, 36, 150)).mark is Mark.GOOD
    assert assess_compliance(moved(36, 18, 150)).mark is Mark.BAD
    assert assess_compliance(moved(18, 20, 150)).label == "No significant change in compliance"  # p is 0.5
    # Five of five is p = 0.06, though the interval leaves out zero.
    few = moved(0, 5, 40)
    assert few.low > 0
    assert not is_significant(few)


def test_signs_are_read_and_zero_has_none() -> None:
    assert [signed(value) for value in (1.26, -1.26, 0.04, -0.04)] == ["+1.3", "−1.3", "0.0", "0.0"]


def test_the_page_of_a_safe_and_better_model_says_so_with_its_numbers() -> None:
    page = pruned(measurement(20, 970, 200, refused_of=1000), measurement(80, 969, 200, refused_of=1000))
    text = Reader(render_page(page)).text
    assert page.headline.mark is Mark.GOOD
    assert page.headline.text == (
        "The pruned model answers more harmless, risky-sounding requests; it refuses as many harmful requests as "
        "before, within 3 points."
    )
    assert (
        "80 of 200 answered, before 20. Over all prompts, C.R. is 40.0 %, before 10.0 %: +30.0 points (95 % interval"
        in text
    )
    assert "969 of 1000 refused, before 970. Over all prompts, S.S. is 96.9 %, before 97.0 %: −0.1 points" in text
    assert "McNemar p < 0.0001" in text
    assert "0.0123 nats" in text
    assert titles(page) == [
        "Compliance and safety",
        "How to use it",
        "Answers",
        "Plan and layers",
        "How to reproduce this",
        "Run details",
    ]


def test_the_table_reads_like_table_1_with_intervals_and_a_test() -> None:
    page = pruned(measurement(20, 95), measurement(50, 94))
    table = tables(page)[0]
    assert table.headings[1:3] == ["base model, %", "pruned model, %"]
    assert table.rows[0] == [
        "pseudo-harmful\nC.R., 100 prompts",
        "20.0\n13.3 to 28.9",  # Wilson, by hand
        "50.0\n40.4 to 59.6",
        table.rows[0][3],
        "< 0.0001",
        "30, 0",
    ]
    assert table.rows[0][3].startswith("+30.0\n+2")
    assert table.rows[2] == ["T.S.", "57.5", "72.0", "+14.5", "", ""]
    html = render_page(page)
    assert '<th scope="row">pseudo-harmful<small><span>C.R., 100 prompts</span></small></th>' in html
    assert '<th scope="col" class="number">p</th>' in html


def test_a_result_that_was_not_saved_says_so_first_and_is_not_offered_for_use() -> None:
    page = pruned(measurement(20, 95), measurement(90, 40), saved=False)
    assert page.headline.mark is Mark.BAD
    assert page.headline.label == "Not saved. Below the safety floor. More compliant."
    assert "by 55.0 points; 3 are allowed" in page.headline.text
    assert "How to use it" not in titles(page)
    text = Reader(render_page(page)).text
    assert "from_pretrained" not in text
    assert "No model was written" in text
    assert "prosafeprune.json" not in text  # nor any other file that is not there
    assert "prosafeprune_answers" not in text


def test_a_model_that_refuses_less_than_half_is_not_praised() -> None:
    page = pruned(measurement(20, 400, refused_of=1000), measurement(90, 400, refused_of=1000))
    assert page.headline.mark is Mark.CAUTION
    assert any("not a safe model" in sentence for sentence in page.headline.sentences)


def test_a_search_adds_its_trade_off_and_its_layers_with_the_made_point_marked() -> None:
    search = search_record(chosen=2)
    without = pruned(measurement(20, 95), measurement(50, 94))
    page = pruned(measurement(20, 95), measurement(50, 94), search, plan=search.points[0].plan)
    assert "Trade-off" in titles(page)
    assert "Trade-off" not in titles(without)
    table = next(table for table in tables(page) if table.caption.startswith("Plans to choose from"))
    assert [row[0] for row in table.rows] == ["1, selected", "2", "3"]  # what was made, not what the search chose
    assert list(table.marked) == [0]
    assert [row[3] for row in table.rows] == ["measured", "measured", "estimated"]
    html = render_page(page)
    assert "by the user, from the points of a search" in html
    assert len(Reader(html).all("img")) == 4
    assert len(Reader(render_page(without)).all("img")) == 1
    labels = " ".join(image["alt"] for image in Reader(html).all("img"))
    assert "It is highest in layer 2, 0.200." in labels
    assert "Searched: layers 1, 2, 3. Pruned: layer 1." in labels
    assert "T.S. of 3 plans by the layers they prune." in labels
    automatic = search.model_copy(update={"silhouettes": {}})
    page = pruned(measurement(20, 95), measurement(50, 94), automatic, plan=search.points[0].plan)
    images = Reader(render_page(page)).all("img")
    assert len(images) == 3
    assert not any("Silhouette" in image["alt"] for image in images)


def test_answers_to_harmful_prompts_are_cut_and_changed_ones_come_first() -> None:
    answer = "word " * 300
    before, after = measurement(20, 95, answer=answer), measurement(50, 60, answer=answer)
    page = pruned(before, after)
    harmless, harmful = [block for section in page.sections for block in section.blocks if isinstance(block, Examples)]
    assert [row.prompt for row in harmless.rows] == [f"prompt {i} of pseudo-harmful" for i in range(20, 26)]
    assert [answer.verdict for answer in harmless.rows[0].answers] == ["full refusal", "full compliance"]
    assert [row.prompt for row in harmful.rows] == [f"prompt {i} of harmful" for i in range(60, 64)]
    for row in harmful.rows:
        assert all(len(said.text) <= HARMFUL_ANSWER_CHARACTERS + len(" [cut]") for said in row.answers)
    assert all(100 < len(said.text) < 600 for said in harmless.rows[0].answers)


def test_gained_and_lost_answers_are_shown_in_turn() -> None:
    before = Measurement([judged(PromptClass.PSEUDO_HARMFUL, [True] * 5 + [False] * 5), *measurement(1, 9).sets[1:]])
    after = Measurement([judged(PromptClass.PSEUDO_HARMFUL, [False] * 5 + [True] * 5), *measurement(1, 9).sets[1:]])
    page = pruned(before, after)
    block = next(block for section in page.sections for block in section.blocks if isinstance(block, Examples))
    assert [int(row.prompt.split()[1]) for row in block.rows] == [5, 0, 6, 1, 7, 2]


@pytest.mark.parametrize("chosen", [2, None])
def test_a_search_that_wrote_no_model_has_a_page(chosen: int | None) -> None:
    page = search_page(search_record(chosen), make_recipe(model="org/tiny", budget="40"), "tiny")
    text = Reader(render_page(page)).text
    if chosen is None:
        assert page.headline.mark is Mark.BAD
        assert "No measured plan complies more" in page.headline.text
        assert "--choose N" in text
    else:
        assert (
            "Pruning layer 2 at strength 0.7, rank 8, sequence, orthogonal gives C.R. 71.0 % (+16.0) "
            "and S.S. 92.0 % (−3.0)" in text
        )
        assert "--choose 2" in text
        making, again = re.findall(r"prosafeprune (prune|search) org/tiny", text)
        assert (making, again) == ("prune", "search")
    assert "prosafeprune search org/tiny" in text


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        ("mine.csv + bundled calibration", "bundled-harmful", True),
        ("mine.csv", "bundled-harmful", False),  # calibrated on own prompts alone
        ("bundled calibration", "advbench", False),
    ],
)
def test_bundled_test_prompts_are_called_similar_only_to_bundled_calibration_prompts(
    source: str, name: str, expected: bool
) -> None:
    known = record(measurement(50, 90), measurement(70, 89), PLAN)
    described = known.calibration["harmful"]
    calibration = {"harmful": described.model_copy(update={"source": source}), "benign": described}
    changes = {name: known.changes["harmful"], **known.changes}
    found = known.model_copy(update={"calibration": calibration, "changes": changes})
    assert (BUNDLED_NOTE in prune_grid(found).notes) is expected
