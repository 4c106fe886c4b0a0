"""What is said of pruning and a system prompt, for each outcome."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.pages import EVIL, Reader, measurement, record
from helpers.prune_records import PLAN

from prosafeprune.evaluation.prompted_base import PromptedBase
from prosafeprune.report.card import write_card
from prosafeprune.report.page import render_page
from prosafeprune.report.prompting_advice import BOTH, advice_sentence, prompting_advice, prompting_offer
from prosafeprune.report.prune_grids import LEARNT_NOTE, prompted_grids
from prosafeprune.report.prune_page import prune_page
from prosafeprune.report.record import Record

WORDS = "Always help."


def compared(prompted: tuple[int, int], pruned: tuple[int, int], system: str = WORDS) -> PromptedBase:
    """Return the outcome of 100 prompts of each class, of which the base model answers 60 and refuses 90."""
    sets = [measurement(*counts).sets for counts in ((60, 90), prompted, pruned)]
    return PromptedBase.of(*sets, system=system, tokens=4, allowed_drop=3.0)


def recorded(found: PromptedBase, **settings: object) -> Record:
    before = measurement(600, 900, total=1000, refused_of=1000)
    after = measurement(800, 900, total=1000, refused_of=1000)
    return record(before, after, PLAN, **settings).model_copy(update={"prompted": found})


@pytest.mark.parametrize(
    ("prompted", "pruned", "begins", "is_offered"),
    [
        ((60, 90), (85, 92), "Pruning is significantly better than a system prompt alone: T.S. 75.0", False),
        ((80, 90), (83, 90), "A system prompt alone is not shown to be worse than pruning, and behind it S.S.", True),
        ((80, 90), (80, 90), "A system prompt alone is not shown to be worse than pruning", True),
        ((83, 89), (80, 90), "A system prompt alone has a higher T.S. than pruning, not significantly, and", True),
        ((95, 90), (70, 90), "A system prompt alone is significantly better than pruning, and behind it S.S.", True),
        ((83, 86), (80, 90), "A system prompt alone is not shown to be worse than pruning, but behind it S.S.", False),
        ((95, 80), (70, 90), "A system prompt alone is significantly better than pruning, but behind it S.S.", False),
    ],
)
def test_each_outcome_has_its_sentence(
    prompted: tuple[int, int], pruned: tuple[int, int], begins: str, is_offered: bool
) -> None:
    found = compared(prompted, pruned)
    whole = recorded(found)
    sentence = prompting_advice(whole)
    assert sentence is not None and sentence.startswith(begins)
    assert f"{found.tradeoff_change.p_value:.2g}" in sentence or "p < 0.0001" in sentence
    assert (prompting_offer(whole) is not None) is is_offered


def test_the_loss_of_refusals_behind_the_prompt_is_named() -> None:
    assert "S.S. falls by 1.0 points:" in advice_sentence(compared((83, 89), (80, 90)), keeps_floor=True)
    assert "S.S. does not fall:" in advice_sentence(compared((83, 91), (80, 90)), keeps_floor=True)
    lost = advice_sentence(compared((95, 66), (80, 90)), keeps_floor=True)
    assert "S.S. falls by 24.0 points, more than the 3 allowed" in lost


def test_a_loss_that_counts_answers_without_a_verdict_says_so() -> None:
    """The table next to the sentence may show the same S.S. for both."""
    found = compared((95, 66), (80, 90))
    refusals = found.refusals.model_copy(update={"without_verdict": 1})
    sentence = advice_sentence(found.model_copy(update={"refusals": refusals}), keeps_floor=True)
    assert "S.S. falls by 24.0 points (answers without a verdict count against it), more than the 3 allowed" in sentence


@pytest.mark.parametrize(
    "found", [compared((60, 90), (85, 92)), compared((83, 89), (80, 90)), compared((95, 66), (60, 90))]
)
def test_a_model_that_may_not_be_saved_is_not_recommended(found: PromptedBase) -> None:
    assert "may not be saved" not in advice_sentence(found, keeps_floor=True)
    assert advice_sentence(found, keeps_floor=False).endswith(", but the pruned model may not be saved.")


def test_the_offer_says_what_it_costs_and_how_both_are_measured() -> None:
    offer = prompting_offer(recorded(compared((80, 90), (80, 90))))
    assert offer is not None
    assert "control every prompt" in offer and "its 4 tokens" in offer and BOTH in offer
    own = prompting_offer(recorded(compared((80, 90), (80, 90)), system="Be kind."))
    assert own is not None and "after your own (--system)" in own


def test_the_table_has_the_three_models_and_their_difference() -> None:
    (grid,) = prompted_grids(recorded(compared((80, 88), (85, 92))))
    cells = {row[0].replace("\n", " "): [cell.split("\n")[0] for cell in row[1:]] for row in grid.rows}
    assert cells["the model as it is"] == ["60.0", "90.0", "75.0"]
    assert cells["the model as it is, behind a system prompt"] == ["80.0", "88.0", "84.0"]
    assert cells["pruned"] == ["85.0", "92.0", "88.5"]
    assert cells["pruned minus prompted"] == ["+5.0", "+4.0", "+4.5"]
    assert cells["p"] == ["0.062", "0.12", "0.0039"]


@pytest.mark.parametrize(("name", "expected"), [("bundled-harmful", True), ("advbench", False)])
def test_bundled_prompts_are_said_to_favour_pruning(name: str, expected: bool) -> None:
    known = recorded(compared((80, 88), (85, 92)))  # calibrated on bundled prompts
    found = known.model_copy(update={"changes": {name: known.changes["harmful"], **known.changes}})
    assert (LEARNT_NOTE in prompted_grids(found)[0].notes) is expected


def test_nothing_is_said_where_it_was_not_measured(tmp_path: Path) -> None:
    before = measurement(60, 90)
    without = record(before, before, PLAN)
    assert prompting_advice(without) is prompting_offer(without) is None
    assert prompted_grids(without) == []
    page = prune_page(without, before, before, None, saved=True)
    assert "Prune, or a system prompt?" not in [section.title for section in page.sections]
    write_card(tmp_path, without, None, tmp_path)
    assert "system prompt" not in (tmp_path / "README.md").read_text()


def test_page_and_card_offer_the_prompt_and_the_command_that_measures_both(tmp_path: Path) -> None:
    before = measurement(60, 90)
    found = recorded(compared((80, 90), (80, 90)))
    page = Reader(render_page(prune_page(found, before, before, None, saved=True)))
    assert WORDS in page.text
    assert "prosafeprune compare org/tiny" in page.text
    assert "--methods default,prompt,prosafeprune,prompt+prosafeprune" in page.text
    assert "--layers 1,2" in page.text and "--settings prompt.strategy=helpful" in page.text
    write_card(tmp_path, found, None, tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert f"```\n{WORDS}\n```" in card
    assert "| pruned | 80.0" in card


def test_a_strangers_record_cannot_write_into_page_or_card(tmp_path: Path) -> None:
    before = measurement(60, 90)
    found = recorded(compared((80, 90), (80, 90), system=f"```\n\n# Safe\n{EVIL}"))
    page = Reader(render_page(prune_page(found, before, before, None, saved=True)))
    assert not page.all("script") and all(image["src"].startswith("data:") for image in page.all("img"))
    write_card(tmp_path, found, None, tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "\n# Safe" not in card
    assert card.count("```") == 4  # the usage and the prompt


def test_the_comparison_of_both_has_the_rows_to_compare_with() -> None:
    assert BOTH == "prosafeprune compare MODEL -o DIR --methods default,prompt,prosafeprune,prompt+prosafeprune"
