"""The style of figures, and how they are saved: equal data give equal files."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prosafeprune.text import printable

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#666666"
"""Colours that colour-blind readers can distinguish. Give lines and markers different styles as well."""
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, "#000000", "#56B4E9", "#E69F00", GREY)
"""Colours, in this order, for series without a fixed colour."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH, HEIGHT = 5.0, 3.4
"""Size of a figure in inches. At this width, 9-point text is readable on a phone."""
RESOLUTION = 300
"""Dots per inch of a PNG."""
SHOWN_RESOLUTION = 120
"""Dots per inch of a figure in a notebook."""


class NotebookFigure(Figure):
    """A figure that a notebook shows although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        return _saved(self, "png", {"Software": None}, resolution=SHOWN_RESOLUTION)


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """Return an empty figure of a size in inches that reads well on pages and phones.

    pyplot does not track it, so it need not be closed.
    """
    return NotebookFigure(figsize=(width, height), layout="constrained")


def new_axes(x_label: str, y_label: str, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """Return a new figure with one pair of axes, with a light grid."""
    figure = new_figure(height=height)
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)
    return figure, axes


@contextmanager
def repeatable() -> Iterator[None]:
    """Make matplotlib write the same SVG for the same data, with text as text."""
    with matplotlib.rc_context({"svg.hashsalt": "prosafeprune", "svg.fonttype": "none"}):
        yield


def as_written(text: str) -> str:
    """Return text of a user or a model for use in a figure, where matplotlib must not read it as a formula."""
    return printable(text).replace("$", r"\$")


def figure_files(figure: Figure) -> dict[str, bytes]:
    """Return the contents of a figure's files by extension: ``svg`` and ``png``."""
    with repeatable():
        return {"svg": _saved(figure, "svg", {"Date": None}), "png": _saved(figure, "png", {"Software": None})}


def svg_data_uri(figure: Figure) -> str:
    """Return a figure as a ``data:`` URI, an SVG with a transparent background.

    As an image, the SVG runs no script, loads nothing and shares no ids or styles with the page around it.
    """
    with repeatable():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # a second layout pass would move elements slightly
        svg = _saved(figure, "svg", {"Date": None, "Creator": None}, transparent=True)
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _saved(
    figure: Figure,
    extension: str,
    metadata: dict[str, None],
    *,
    transparent: bool = False,
    resolution: int = RESOLUTION,
) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=extension, dpi=resolution, metadata=metadata, transparent=transparent)
    return stream.getvalue()
