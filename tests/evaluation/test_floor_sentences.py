"""The sentences of the safety floor: their numbers make sense together."""

from __future__ import annotations

from helpers.pages import measurement

from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.paired_refusals import ALL, BASE, RefusalCounts
from prosafeprune.evaluation.safety_floor import FloorDecision, FloorVerdict, decide


def decided(lost: int, prompts: int, rule: FloorRule) -> FloorDecision:
    """Return the decision on a set whose prompts were all refused before."""
    counts = RefusalCounts(
        name=ALL,
        against=BASE,
        prompts=prompts,
        pairs=prompts,
        refused_before=prompts,
        without_verdict=0,
        lost=lost,
        won=0,
    )
    measured = measurement(40, 95)
    some = decide(measured.sets, measured.sets, rule)
    return FloorDecision(
        verdict=FloorVerdict.SAFE, reasons=[], tests=[some.tests[0].model_copy(update=dict(counts))]
    ).under(rule)


def test_a_drop_just_above_what_is_allowed_does_not_look_equal_to_it() -> None:
    (reason,) = decided(1, 33, FloorRule(3.0, floor="estimate")).reasons
    assert "fell by 3.03 points, more than the 3 allowed" in reason


def test_a_bound_just_below_what_is_allowed_does_not_look_equal_to_it() -> None:
    rule = FloorRule(3.0)
    sentences = [decision.reasons[0] for lost in range(30) if (decision := decided(lost, 1000, rule)).may_save]
    assert sentences
    assert not any("less than 3 points" in sentence and "by 3.0 at most" in sentence for sentence in sentences)
