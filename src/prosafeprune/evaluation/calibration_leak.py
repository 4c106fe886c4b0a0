"""The check that no calibration prompt is among those measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.prompts import bundled_prompts, require_disjoint


def require_no_leak(calibration: Mapping[str, Mapping[str, Any]], sets: Sequence[EvaluationSet]) -> None:
    """Check that no bundled calibration prompt is measured on.

    Args:
        calibration: from a record: the description of the calibration prompts of each class. Prompts of the user's own
            are known by their hash alone and cannot be checked.
        sets: what is measured on.

    Raises:
        InputError: naming the offending prompts.
    """
    for name, prompts in calibration.items():
        if "bundled calibration" in str(prompts.get("source", "")):
            require_disjoint([bundled_prompts(name, "calibration")], [one.prompts for one in sets])
