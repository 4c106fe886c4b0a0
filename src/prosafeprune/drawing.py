"""How figures look, and how they are kept: the same data give the same files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#666666"
"""Told apart by colour-blind readers, on white and on light grey; give lines and markers forms of their own as well."""
WIDTH, HEIGHT = 5.0, 3.4
"""Inches. Text of 9 points stays readable when a phone shrinks a figure of this width."""


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """Return an empty figure of a size, in inches, that reads well on a page and on a phone.

    It belongs to no window and to no list of open figures, so that it need not be closed.
    """
    return Figure(figsize=(width, height), layout="constrained")


@contextmanager
def repeatable() -> Iterator[None]:
    """Make matplotlib draw the same data to the same SVG while the context lasts."""
    with matplotlib.rc_context({"svg.hashsalt": "prosafeprune"}):
        yield


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name.svg`` and ``name.png`` into ``folder``. Raises OSError."""
    with repeatable():
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        figure.savefig(folder / f"{name}.png", dpi=200, metadata={"Software": None})
