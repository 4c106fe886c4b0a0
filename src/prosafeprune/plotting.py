"""How figures look, and how they are kept: the same data give the same files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#666666"
"""Told apart by colour-blind readers, on white and on light grey; give lines and markers forms of their own as well."""
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, "#000000", "#56B4E9", "#E69F00", GREY)
"""For things without colours of their own, in this order."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH, HEIGHT = 5.0, 3.4
"""Inches. Text of 9 points stays readable when a phone shrinks a figure of this width."""
RESOLUTION = 300
"""Dots an inch of a PNG, as papers are printed."""
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""What has no place in an SVG or a page, or in UTF-8 at all."""


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """Return an empty figure of a size, in inches, that reads well on a page and on a phone.

    It belongs to no window and to no list of open figures, so that it need not be closed.
    """
    return Figure(figsize=(width, height), layout="constrained")


@contextmanager
def repeatable() -> Iterator[None]:
    """Make matplotlib draw the same data to the same SVG while the context lasts, with its text as text."""
    with matplotlib.rc_context({"svg.hashsalt": "prosafeprune", "svg.fonttype": "none"}):
        yield


def as_written(text: str) -> str:
    """Return words of a user's or a model's so that a figure shows them: no formula is read in them."""
    return UNPRINTABLE.sub("\ufffd", text).replace("$", r"\$")


def figure_files(figure: Figure) -> dict[str, bytes]:
    """Return what the files of a figure hold, by ending: ``svg`` and ``png``."""
    with repeatable():
        return {"svg": _saved(figure, "svg", {"Date": None}), "png": _saved(figure, "png", {"Software": None})}


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name.svg`` and ``name.png`` into ``folder``. Raises OSError."""
    for ending, content in figure_files(figure).items():
        (folder / f"{name}.{ending}").write_bytes(content)


def _saved(figure: Figure, ending: str, metadata: dict[str, None]) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=ending, dpi=RESOLUTION, metadata=metadata)
    return stream.getvalue()
