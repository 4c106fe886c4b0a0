"""Figures from tables, as SVG and PNG: equal tables give equal files.

Colours are told apart by colour-blind readers too; markers and line styles differ as well.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from prosafeprune.analysis.result import BarFigure, Cell, Figure, HeatFigure, LineFigure, ScatterFigure, Table
from prosafeprune.drawing import BLUE, GREEN, GREY, HEIGHT, ORANGE, PURPLE, WIDTH, new_figure, repeatable

COLOURS = {"benign": BLUE, "harmful": ORANGE, "pseudo-harmful": PURPLE, "general": GREEN}
"""The prompt classes look the same in every figure."""
OTHER_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#000000", "#56B4E9", "#E69F00", GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLES = ("-", "--", ":", "-.")
TITLE_WIDTH = 55
"""Letters of a title above one panel, before it breaks."""
MOST_TICKS = 16
"""Labels on an axis of words or layers, at most; of more, every second or third is written."""
RESOLUTION = 150
Row = dict[str, Cell]


def draw(figure: Figure, table: Table) -> dict[str, bytes]:
    """Return the figure's files by ending, ``svg`` and ``png``, drawn from the table alone."""
    canvas = plot(figure, table)
    with repeatable():
        return {"svg": _saved(canvas, "svg", {"Date": None}), "png": _saved(canvas, "png", {"Software": None})}


def plot(figure: Figure, table: Table) -> Canvas:
    """Return the figure as matplotlib draws it, from the table alone."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    panels = _values(rows, figure.panel) or [None]
    canvas = new_figure(WIDTH * len(panels), HEIGHT)
    axes = canvas.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for place, (panel, one) in enumerate(zip(panels, axes, strict=True)):
        of_panel = rows if panel is None else [row for row in rows if row[str(figure.panel)] == panel]
        _fill(canvas, one, figure, of_panel, rows)
        one.set_xlabel(figure.x_label)
        one.set_ylabel(figure.y_label if place == 0 else "")
        if panel is not None:
            one.set_title(str(panel), fontsize=9)
    _legend(canvas, axes)
    canvas.suptitle(textwrap.fill(figure.title, TITLE_WIDTH * len(panels)), fontsize=10)
    return canvas


def _fill(canvas: Canvas, axes: Axes, figure: Figure, rows: Sequence[Row], all_rows: Sequence[Row]) -> None:
    if isinstance(figure, HeatFigure):
        mesh = _heat(axes, figure, rows, all_rows)
        if axes is canvas.axes[-1] or len(canvas.axes) == 1:
            canvas.colorbar(mesh, ax=canvas.axes, label=figure.value_label)
    elif isinstance(figure, LineFigure):
        _lines(axes, figure, rows, all_rows)
    elif isinstance(figure, BarFigure):
        _bars(axes, figure, rows, all_rows)
    else:
        _points(axes, figure, rows, all_rows)


def _lines(axes: Axes, figure: LineFigure, rows: Sequence[Row], all_rows: Sequence[Row]) -> None:
    styles = _values(all_rows, figure.style) or [None]
    for colour_place, by in enumerate(_values(all_rows, figure.by) or [None]):
        for style_place, style in enumerate(styles):
            line = [
                row
                for row in rows
                if _is(row, figure.by, by) and _is(row, figure.style, style) and row[figure.y] is not None
            ]
            if not line:
                continue
            colour = _colour(by, colour_place)
            axes.plot(
                _numbers(line, figure.x),
                _numbers(line, figure.y),
                color=colour,
                linestyle=STYLES[style_place % len(STYLES)],
                marker=MARKERS[colour_place % len(MARKERS)],
                markersize=3.5,
                linewidth=1.4,
                markerfacecolor=colour if style_place == 0 else "white",
                label=", ".join(str(part) for part in (by, style if len(styles) > 1 else None) if part is not None),
            )
            if figure.low is not None and figure.high is not None:
                ends = (_numbers(line, figure.low), _numbers(line, figure.high))
                axes.fill_between(_numbers(line, figure.x), *ends, color=colour, alpha=0.15, linewidth=0)
    if figure.mark is not None:
        axes.axvline(figure.mark, color=GREY, linewidth=1, linestyle=":")
    if figure.log:
        axes.set_yscale("log")
    whole = all(place.is_integer() for place in _numbers(rows, figure.x) if not np.isnan(place))
    axes.xaxis.set_major_locator(MaxNLocator(integer=whole))
    axes.grid(alpha=0.25)


def _bars(axes: Axes, figure: BarFigure, rows: Sequence[Row], all_rows: Sequence[Row]) -> None:
    places, groups = _values(all_rows, figure.x), _values(all_rows, figure.by) or [None]
    width = 0.8 / len(groups)
    for group, by in enumerate(groups):
        bars = [row for row in rows if _is(row, figure.by, by) and row[figure.y] is not None]
        x = [places.index(row[figure.x]) + (group - (len(groups) - 1) / 2) * width for row in bars]
        heights = _numbers(bars, figure.y)
        errors = None
        if figure.low is not None and figure.high is not None:
            low, high = _numbers(bars, figure.low), _numbers(bars, figure.high)
            errors = np.clip([np.subtract(heights, low), np.subtract(high, heights)], 0, None)
        label = None if by is None else str(by)
        colour = _colour(by, group)
        axes.bar(x, heights, width, yerr=errors, capsize=2, color=colour, edgecolor="black", linewidth=0.5, label=label)
    _word_ticks(axes.xaxis, places)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.grid(axis="y", alpha=0.25)


def _points(axes: Axes, figure: ScatterFigure, rows: Sequence[Row], all_rows: Sequence[Row]) -> None:
    for place, by in enumerate(_values(all_rows, figure.by) or [None]):
        points = [row for row in rows if _is(row, figure.by, by)]
        axes.scatter(
            _numbers(points, figure.x),
            _numbers(points, figure.y),
            s=14,
            color=_colour(by, place),
            marker=MARKERS[place % len(MARKERS)],
            alpha=0.75,
            linewidths=0,
            label=None if by is None else str(by),
        )
    axes.set_xticks([])
    axes.set_yticks([])


def _heat(axes: Axes, figure: HeatFigure, rows: Sequence[Row], all_rows: Sequence[Row]) -> Any:
    across, down = _values(all_rows, figure.x), _values(all_rows, figure.y)
    values = np.full((len(down), len(across)), np.nan)
    for row in rows:
        cell = row[figure.value]
        if isinstance(cell, int | float):
            values[down.index(row[figure.y]), across.index(row[figure.x])] = cell
    mesh = axes.pcolormesh(
        np.arange(len(across) + 1) - 0.5,
        np.arange(len(down) + 1) - 0.5,
        np.ma.masked_invalid(values),
        cmap="viridis",
        vmin=figure.lowest,
        vmax=figure.highest,
    )
    _word_ticks(axes.xaxis, across)
    _word_ticks(axes.yaxis, down)
    return mesh


def _word_ticks(axis: Axis, words: Sequence[Cell]) -> None:
    step = -(-len(words) // MOST_TICKS)
    axis.set_ticks(range(0, len(words), step), [str(word) for word in words[::step]])
    if isinstance(axis, XAxis) and any(isinstance(word, str) for word in words):
        for label in axis.get_ticklabels():
            label.set(rotation=30, horizontalalignment="right")


def _legend(canvas: Canvas, panels: Sequence[Axes]) -> None:
    """Say what colours and marks mean: in the one panel, or below several, where it hides nothing."""
    named: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if not any(named):
        return
    if len(panels) == 1:
        panels[0].legend(fontsize=7)
    else:
        canvas.legend(named.values(), named.keys(), loc="outside lower center", ncols=min(len(named), 4), fontsize=8)


def _values(rows: Sequence[Row], column: str | None) -> list[Cell]:
    """Return the different values of a column, in the order they come."""
    return list(dict.fromkeys(row[column] for row in rows)) if column is not None else []


def _is(row: Row, column: str | None, value: Cell) -> bool:
    return column is None or row[column] == value


def _numbers(rows: Sequence[Row], column: str) -> list[float]:
    found = [row[column] for row in rows]
    return [float(cell) if isinstance(cell, int | float) else float("nan") for cell in found]


def _colour(by: Cell, place: int) -> str:
    return COLOURS.get(str(by), OTHER_COLOURS[place % len(OTHER_COLOURS)])


def _saved(canvas: Canvas, ending: str, metadata: dict[str, None]) -> bytes:
    stream = io.BytesIO()
    canvas.savefig(stream, format=ending, dpi=RESOLUTION, metadata=metadata)
    return stream.getvalue()
