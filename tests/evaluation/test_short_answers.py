"""Answers too short to be judged are warned of before the long work."""

from __future__ import annotations

import pytest
from helpers.reporters import KeptWarnings

from prosafeprune.evaluation.measure import warn_of_short_answers


@pytest.mark.parametrize(("tokens", "warned"), [(4, True), (19, True), (20, False), (64, False)])
def test_answers_too_short_for_a_verdict_are_warned_of(tokens: int, warned: bool) -> None:
    reporter = KeptWarnings()
    warn_of_short_answers(tokens, reporter)
    assert bool(reporter.lines) is warned
    assert all(text.startswith(f"--max-new-tokens {tokens}: ") for text in reporter.lines)
