"""One model or two: what a table and a legend call them."""

from __future__ import annotations

from prosafeprune.analysis.analysis import Observation


def by_role(before: Observation, after: Observation | None) -> dict[str, Observation]:
    """Return the observations under the names that tables and figures give them: before and, if any, after."""
    return {"before": before} if after is None else {"before": before, "after": after}
