"""What a record says of its model: why it may not be written."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.pages import measurement, record

from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.safety_floor import decide
from prosafeprune.method.plan import Plan


@pytest.mark.parametrize(("own", "advised"), [({}, False), ({"harmful": "b.txt"}, False), ({"harmful": None}, True)])
def test_who_calibrates_on_own_harmless_prompts_alone_is_told_of_harmful_ones(
    own: dict[str, Any], advised: bool
) -> None:
    before, after = measurement(40, 95), measurement(60, 80)
    given = {"pseudo_harmful": "a.txt", **own} if own else {}
    made = record(before, after, Plan(layers=(1, 2), rank=8), layers="1-2", **given)
    made = made.model_copy(update={"floor": decide(before.sets, after.sets, FloorRule.of(made.recipe))})
    reason = made.reason_not_to_save
    assert reason is not None and reason.startswith("Not saved.")
    assert ("--harmful FILE" in reason) is advised
