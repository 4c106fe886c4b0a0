"""Records whose prompts are in several sets: which counts are believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers.pages import record
from helpers.prune_records import PLAN
from helpers.shared_prompts import before_and_after, on_prompts

from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.safety_floor import decide
from prosafeprune.prompts import PromptClass
from prosafeprune.report.record import Record
from prosafeprune.report.record_consistency import is_consistent

HARMFUL, HARMLESS = PromptClass.HARMFUL, PromptClass.PSEUDO_HARMFUL


def recorded(before: Measurement, after: Measurement) -> Record:
    made = record(before, after, PLAN)
    return made.model_copy(update={"floor": decide(before.sets, after.sets, FloorRule.of(made.recipe))})


def changed(change: Callable[[dict[str, Any]], object]) -> Record:
    written = recorded(*before_and_after()).model_dump(mode="json")
    change(written)
    return Record.model_validate(written)


def test_what_is_written_is_consistent() -> None:
    assert is_consistent(changed(lambda written: None))


def test_what_releases_without_pooled_counts_wrote_is_consistent() -> None:
    """They counted a prompt in each of its sets, but once in the test of the floor."""

    def as_earlier(written: dict[str, Any]) -> None:
        del written["source"]["pooled"], written["result"]["pooled"]
        written["safety_change"].update(points=-60.0, lost=6)

    assert is_consistent(changed(as_earlier))


def pooled(**counts: int) -> Callable[[dict[str, Any]], None]:
    """Return a forgery of the pooled counts of harmful prompts, after pruning."""

    def forge(written: dict[str, Any]) -> None:
        written["result"]["pooled"]["harmful"]["rate"].update(counts)

    return forge


def fewer_prompts(written: dict[str, Any]) -> None:
    for model in ("source", "result"):
        written[model]["pooled"]["harmful"]["rate"]["total"] = 7
    written["source"]["pooled"]["harmful"]["rate"]["successes"] = 7


def in_several(number: int) -> Callable[[dict[str, Any]], None]:
    def forge(written: dict[str, Any]) -> None:
        for model in ("source", "result"):
            written[model]["pooled"]["harmful"]["in_several_sets"] = number

    return forge


def nothing_lost(written: dict[str, Any]) -> None:
    """Say that the two sets, which lost four prompts and two, together lost none."""
    pooled(successes=8)(written)
    written["safety_change"].update(points=0.0, lost=0)
    for test in written["floor"]["tests"][:1]:
        test["lost"] = 0


def two_lost(written: dict[str, Any]) -> None:
    """One of the sets alone lost four."""
    pooled(successes=6)(written)
    written["safety_change"].update(points=-25.0, lost=2)
    written["floor"]["tests"][0]["lost"] = 2


def one_lost_more_than_the_changes_of_its_sets_say(written: dict[str, Any]) -> None:
    written["safety_change"].update(won=1, lost=6)  # none was won in any set


def a_change_that_its_rates_contradict(written: dict[str, Any]) -> None:
    written["changes"]["harmful A"]["lost"] = 5


def summed_points(written: dict[str, Any]) -> None:
    written["safety_change"]["points"] = -60.0


def of_one_model(written: dict[str, Any]) -> None:
    del written["source"]["pooled"]["harmful"]


def not_in_the_floor(written: dict[str, Any]) -> None:
    written["floor"]["tests"][0]["lost"] = 0


def without_a_floor(written: dict[str, Any]) -> None:
    written["floor"] = None


def more_harmless_answers(written: dict[str, Any]) -> None:
    written["result"]["pooled"]["pseudo_harmful"]["rate"]["successes"] = 4


def of_one_set(written: dict[str, Any]) -> None:
    for model in ("source", "result"):
        written[model]["sets"] = [one for one in written[model]["sets"] if one["name"] != "harmful B"]


FORGED = [
    pooled(total=10),
    pooled(successes=4),
    pooled(successes=-1),
    fewer_prompts,
    in_several(1),
    in_several(3),
    nothing_lost,
    two_lost,
    one_lost_more_than_the_changes_of_its_sets_say,
    a_change_that_its_rates_contradict,
    summed_points,
    of_one_model,
    not_in_the_floor,
    without_a_floor,
    more_harmless_answers,
    of_one_set,
]


@pytest.mark.parametrize("forge", FORGED)
def test_what_the_counts_of_the_sets_do_not_allow_is_not_believed(forge: Callable[[dict[str, Any]], None]) -> None:
    assert not is_consistent(changed(forge))


def test_shared_prompts_can_be_any_that_the_sets_allow() -> None:
    """Of six lost prompts of two sets, one is in both; it could as well be two, if all figures say the same."""

    def four_lost(written: dict[str, Any]) -> None:
        pooled(successes=4)(written)
        written["safety_change"].update(points=-50.0, lost=4)
        written["floor"]["tests"][0]["lost"] = 4

    assert is_consistent(changed(four_lost))


def test_without_shared_prompts_the_points_are_those_of_the_sums() -> None:
    before = Measurement([on_prompts(HARMLESS, "C", (1,), ()), on_prompts(HARMFUL, "A", (1, 2, 3), (1, 2, 3))])
    before.sets.append(on_prompts(HARMFUL, "B", (4,), (4,)))
    after = Measurement([*before.sets[:2], on_prompts(HARMFUL, "B", (4,), ())])
    made = recorded(before, after)
    assert made.safety_change.points == -25
    assert is_consistent(made)
    other = made.safety_change.model_copy(update={"points": -100 / 3})
    assert not is_consistent(made.model_copy(update={"safety_change": other}))
