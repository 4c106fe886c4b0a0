"""Nothing is measured on the prompts that it learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.prompts import bundled_prompts, require_disjoint


def require_no_leak(calibration: Mapping[str, Mapping[str, Any]], sets: Sequence[EvaluationSet]) -> None:
    """Check that no bundled calibration prompt that a record names, by class, is among those measured on.

    Prompts of the user's own are known by their hash alone.

    Raises:
        InputError: naming the offending lines.
    """
    for name, prompts in calibration.items():
        if str(prompts.get("source", "")).startswith("bundled"):
            require_disjoint([bundled_prompts(name, "calibration")], [chosen.prompts for chosen in sets])
