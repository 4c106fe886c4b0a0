"""The training losses of a method as figures: one for each of its trainings."""

from collections.abc import Mapping, Sequence
from typing import Any

from prosafeprune.plotting import BLUE, as_written, new_axes
from prosafeprune.report.page import Picture


def loss_curves(name: str, learned: Mapping[str, Any]) -> list[Picture]:
    """Return the curves among the facts of a method's fit, which may be of the user's own making.

    Args:
        name: the method's.
        learned: has the losses of one training under ``losses``, or of several by their names.
    """
    losses = learned.get("losses")
    trainings = {f"{name}, {training}": each for training, each in losses.items()} if isinstance(losses, dict) else {}
    return [_curve(title, each) for title, each in (trainings or {name: losses}).items() if _is_curve(each)]


def _is_curve(losses: Any) -> bool:
    return isinstance(losses, list) and len(losses) > 1 and all(isinstance(loss, int | float) for loss in losses)


def _curve(title: str, losses: Sequence[float]) -> Picture:
    first, last, updates = losses[0], losses[-1], len(losses)
    description = f"Training loss of {title}: {first:.3g} at the first of {updates} updates, {last:.3g} at the last."
    figure, axes = new_axes("update", f"loss of {as_written(title)}")
    axes.plot(range(1, len(losses) + 1), losses, color=BLUE, linewidth=1.2)
    return Picture(figure, description, f"{title}: loss of each batch before its update.")
