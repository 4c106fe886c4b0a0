"""The shortest prompts of each bundled set: tiny models read byte by byte, and tests measure often."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from prosafeprune.prompts import bundled

SET_SIZES = {"calibration": 60, "validation": 24, "test": 30}
FLOOR_TESTED = 100
"""Test prompts with which the safety floor can be kept."""
READ_ALL = bundled._read.__wrapped__


def use_small_sets(patch: pytest.MonkeyPatch, *, prompted: bool = False, **sizes: int) -> None:
    """Let ``bundled_prompts`` return them until the patch is undone; a split may be of another size.

    Args:
        prompted: whether ``prune`` asks the base model behind a system prompt, too.
    """

    def shortest(prompt_class: Any, split: Any) -> Any:
        prompts = READ_ALL(prompt_class, split)
        rows = sorted(range(len(prompts)), key=lambda row: len(prompts[row].text))[: {**SET_SIZES, **sizes}[split]]
        return tuple(prompts[row] for row in sorted(rows))

    patch.setattr(bundled, "_read", cache(shortest))
    # The spot check has tests of its own in tests/jobs/test_spot_check.py.
    patch.setattr("prosafeprune.setup.run_prompts.spot_check_sets", lambda calibration: [])
    if not prompted:  # tests/jobs/test_prompted.py
        patch.setattr("prosafeprune.setup.run_prompts.prompted_sample", lambda *given: [])
