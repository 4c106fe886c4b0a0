"""The training losses of the methods that are trained, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prosafeprune.plotting import BLUE, as_written, new_axes
from prosafeprune.report.comparison_record import ComparisonRecord
from prosafeprune.report.page import Picture


def loss_curves(record: ComparisonRecord) -> list[Picture]:
    """Return a picture of the losses for each method whose fit has them."""
    return [_picture(one.name, losses) for one in record.methods if (losses := _losses(one.learned))]


def _losses(learned: Mapping[str, Any]) -> list[float]:
    """Return the losses among a method's facts, which may be of the user's own making; none without a curve."""
    losses = learned.get("losses")
    is_curve = isinstance(losses, list) and len(losses) > 1 and all(isinstance(one, int | float) for one in losses)
    return list(losses) if isinstance(losses, list) and is_curve else []


def _picture(name: str, losses: Sequence[float]) -> Picture:
    description = (
        f"Training loss of {name}: {losses[0]:.3g} at the first of {len(losses)} updates, {losses[-1]:.3g} at the last."
    )
    figure, axes = new_axes("update", f"loss of {as_written(name)}")
    axes.plot(range(1, len(losses) + 1), losses, color=BLUE, linewidth=1.2)
    return Picture(figure, description, f"{name}: loss of each batch before its update.")
