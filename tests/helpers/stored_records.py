"""What every release has written into the record of a pruned model."""

from __future__ import annotations

from typing import Any

from prosafeprune.method.plan import Plan


def stored_record(**changes: Any) -> dict[str, Any]:
    """Return the smallest record of a measured model that can be read."""
    return {
        "model": {"name": "org/first", "sha256": "1" * 64},
        "plan": Plan(layers=(2,), rank=2).model_dump(mode="json"),
        "calibration": {},
        "judge": "rules 1",
        "recipe": {"max_new_tokens": 64},
        "safety_change": {"points": -2.0},
        **changes,
    }
