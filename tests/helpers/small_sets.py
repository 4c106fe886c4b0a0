"""The shortest prompts of each bundled set: tiny models read byte by byte, and tests measure often."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from prosafeprune.prompts import bundled

SET_SIZES = {"calibration": 60, "validation": 24, "test": 100}


def use_small_sets(patch: pytest.MonkeyPatch) -> None:
    """Let ``bundled_prompts`` return them until the patch is undone."""
    read = bundled._read.__wrapped__

    def shortest(prompt_class: Any, split: Any) -> Any:
        prompts = read(prompt_class, split)
        rows = sorted(range(len(prompts)), key=lambda row: len(prompts[row].text))[: SET_SIZES[split]]
        return tuple(prompts[row] for row in sorted(rows))

    patch.setattr(bundled, "_read", cache(shortest))
