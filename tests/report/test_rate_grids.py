"""Tables of rates."""

from __future__ import annotations

from dataclasses import replace

from helpers.pages import judged

from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.scores import score
from prosafeprune.prompts import Prompt, PromptClass
from prosafeprune.report.rate_grids import category_grids


def of_group(group: str, harmless: bool, outcomes: dict[str, bool]) -> JudgedSet:
    """Return a set that is reported by category, with one prompt of each."""
    found = judged(PromptClass.PSEUDO_HARMFUL if harmless else PromptClass.HARMFUL, list(outcomes.values()))
    prompts = tuple(Prompt(f"prompt of {name}", category=name) for name in outcomes)
    title = f"{group}, {'harmless' if harmless else 'harmful'}"
    chosen = found.evaluation_set
    chosen = replace(
        chosen, name=title, title=title, prompts=replace(chosen.prompts, prompts=prompts), by_category=True
    )
    return replace(found, evaluation_set=chosen)


def test_sets_of_one_group_are_in_one_table_whatever_their_order() -> None:
    """With --benchmark, sets come in the user's order, and a group may have sets of one class only."""
    sets = [
        of_group("domains", False, {"law": True, "sport": False}),
        of_group("languages", False, {"German": True}),
        of_group("languages", True, {"German": False}),
    ]
    grids = {grid.caption: grid for grid in category_grids([("", score(sets))])}
    assert list(grids) == ["By category: languages", "By category: domains"]
    languages, domains = grids.values()
    assert languages.headings == ["", "C.R., %", "S.S., %"]
    assert [[cell.split("\n")[0] for cell in row] for row in languages.rows] == [["German", "0.0", "100.0"]]
    assert domains.headings == ["", "S.S., %"]
    assert [[cell.split("\n")[0] for cell in row] for row in domains.rows] == [["law", "100.0"], ["sport", "0.0"]]


def test_two_models_of_one_name_both_have_their_rates_by_category() -> None:
    """An evaluation may be compared with one in a folder of the same name."""
    before, after = (score([of_group("domains", True, {"law": outcome})]) for outcome in (False, True))
    (grid,) = category_grids([("tiny", before), ("tiny", after)])
    assert grid.headings == ["", "C.R., %\ntiny", "C.R., %\ntiny"]
    assert [cell.split("\n")[0] for cell in grid.rows[0]] == ["law", "0.0", "100.0"]
