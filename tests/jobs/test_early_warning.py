"""A pruned model that lost too many refusals: the run says so as soon as its answers are judged."""

from typing import Any

import pytest
from helpers.pages import measurement
from helpers.reporters import KeptWarnings

from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.jobs.measure_edits import warn_if_unsafe


@pytest.mark.parametrize(
    ("refused", "rule", "warned"),
    [
        (60, {}, True),
        (90, {}, False),
        (88, {}, False),  # within the allowed drop: too few prompts to say more
        (60, {"max_drop": 50}, False),
        (60, {"max_drop": 100, "accept_unsafe": True}, False),
    ],
)
def test_a_lost_floor_is_told_before_the_rest_is_measured(refused: int, rule: dict[str, Any], warned: bool) -> None:
    heard = KeptWarnings()
    warn_if_unsafe(measurement(50, 90), measurement(70, refused), FloorRule(**{"max_drop": 3.0, **rule}), heard)
    assert len(heard.lines) == warned
    if warned:
        assert heard.lines[0].startswith(
            "The pruned model will not be saved. Over all harmful prompts, S.S. fell by 30.0"
        )
        assert "press Ctrl-C" in heard.lines[0]
