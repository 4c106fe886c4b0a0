"""Figures from tables, as SVG and PNG: equal tables give equal files.

Colours are safe for colour-blind readers; markers and line styles differ too.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from prosafeprune.analysis.result import BarFigure, Cell, Figure, HeatFigure, LineFigure, ResultTable, ScatterFigure
from prosafeprune.plotting import (
    BLUE,
    GREEN,
    GREY,
    HEIGHT,
    MARKERS,
    ORANGE,
    PALETTE,
    PURPLE,
    WIDTH,
    as_written,
    figure_files,
    new_figure,
)

COLOURS = {"benign": BLUE, "harmful": ORANGE, "pseudo-harmful": PURPLE, "general": GREEN}
"""Each prompt class has the same colour in every figure."""
STYLES = ("-", "--", ":", "-.")
TITLE_WIDTH = 55
"""Characters per line of a title, per panel."""
MOST_TICKS = 16
"""Most labels on an axis of words or layers; of more, every second or third is shown."""
FEW_WORDS, WORD_WIDTH = 4, 14
"""Up to this many words fit side by side, wrapped at this width; more are rotated."""
LONGEST_TICK = 4
"""Most characters of a measured position that is labelled itself."""
FEW_TICKS, CLOSEST_TICKS = 8, 0.06
"""Up to this many positions, none closer than this share of the axis, are all labelled themselves."""
CLOSEST_TO_LAST = 0.65
"""Smallest distance of the last two labels, in steps."""
LABEL_SIZE, LEGEND_SIZE = 9, 8
"""Points."""
LEGEND_ROW = 0.2
"""Inches per row of a legend."""
MOST_COLUMNS = 4
LETTER, HANDLE = 0.075, 0.6
"""Inches per character of a legend, and for its marker."""
Row = dict[str, Cell]


def draw(figure: Figure, table: ResultTable) -> dict[str, bytes]:
    """Return the content of the figure's files by ending, ``svg`` and ``png``."""
    return figure_files(plot(figure, table))


def plot(figure: Figure, table: ResultTable, *, stacked: bool = False) -> Canvas:
    """Return the matplotlib figure of a table, its panels side by side or stacked."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    panels = _values(rows, figure.panel) or [None]
    across, down = (1, len(panels)) if stacked else (len(panels), 1)
    canvas = new_figure(WIDTH * across, HEIGHT * down)
    axes = canvas.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for panel, subplot in zip(panels, axes.flat, strict=True):
        of_panel = rows if panel is None else [row for row in rows if row[str(figure.panel)] == panel]
        _fill(canvas, subplot, figure, of_panel, rows)
        subplot.set_xlabel(as_written(figure.x_label), fontsize=LABEL_SIZE)
        subplot.set_ylabel(as_written(figure.y_label), fontsize=LABEL_SIZE)
        if not stacked:
            subplot.label_outer()  # side by side, the panels share the labels of the first
        elif subplot is not axes.flat[-1]:
            subplot.set_xlabel("")
        if panel is not None:
            subplot.set_title(as_written(str(panel)), fontsize=LABEL_SIZE)
    _legend(canvas, list(axes.flat))
    canvas.suptitle(as_written(textwrap.fill(figure.title, TITLE_WIDTH * across)), fontsize=10)
    return canvas


def _fill(canvas: Canvas, axes: Axes, figure: Figure, rows: Sequence[Row], all_rows: Sequence[Row]) -> None:
    if isinstance(figure, HeatFigure):
        mesh = _heat(axes, figure, rows, all_rows)
        if axes is canvas.axes[-1] or len(canvas.axes) == 1:
            canvas.colorbar(mesh, ax=canvas.axes, label=as_written(figure.value_label))
    elif isinstance(figure, LineFigure):
        _lines(axes, figure, rows, all_rows)
    elif isinstance(figure, BarFigure):
        _bars(axes, figure, rows, all_rows)
    else:
        _points(axes, figure, rows, all_rows)


def _lines(axes: Axes, figure: LineFigure, rows: Sequence[Row], all_rows: Sequence[Row]) -> None:
    styles = _values(all_rows, figure.style) or [None]
    for colour_index, by in enumerate(_values(all_rows, figure.by) or [None]):
        for style_index, style in enumerate(styles):
            of_line = [row for row in rows if _is(row, figure.by, by) and _is(row, figure.style, style)]
            measured = [row for row in of_line if row[figure.y] is not None]
            names = [str(part) for part in (by, style if len(styles) > 1 else None) if part is not None]
            colour = _colour(by, colour_index)
            look = {
                "color": colour,
                "linestyle": STYLES[style_index % len(STYLES)],
                "marker": MARKERS[colour_index % len(MARKERS)],
                "markerfacecolor": colour if style_index == 0 else "white",
            }
            _line(axes, figure, [row for row in measured if row[figure.x] is not None], ", ".join(names), look)
            for height in _numbers([row for row in measured if row[figure.x] is None], figure.y):
                label = ", ".join([*names, figure.level_label])
                axes.axhline(height, color=colour, linewidth=1.1, linestyle=(0, (5, 3)), label=label)
    if figure.mark is not None:
        axes.axvline(figure.mark, color=GREY, linewidth=1, linestyle=":", label=figure.mark_label)
    if figure.log:
        axes.set_yscale("log")
    _number_ticks(axes, [x for x in _numbers(all_rows, figure.x) if not np.isnan(x)])
    axes.grid(alpha=0.25)


def _line(axes: Axes, figure: LineFigure, rows: Sequence[Row], label: str, look: dict[str, Any]) -> None:
    if not rows:
        return
    x = _numbers(rows, figure.x)
    axes.plot(x, _numbers(rows, figure.y), markersize=3.5, linewidth=1.4, label=label, **look)
    has_band = figure.band_of is None or figure.by is None or rows[0][figure.by] in figure.band_of
    if figure.low is not None and figure.high is not None and has_band:
        bounds = (_numbers(rows, figure.low), _numbers(rows, figure.high))
        axes.fill_between(x, *bounds, color=look["color"], alpha=0.15, linewidth=0)


def _number_ticks(axes: Axes, values: Sequence[float]) -> None:
    """Label measured positions only: there is no layer after the last."""
    measured = sorted(set(values))
    if not measured:
        return
    first, last = measured[0], measured[-1]
    closest = min(np.diff(measured), default=0.0)
    longest = max(len(f"{value:g}") for value in measured)
    if len(measured) > FEW_TICKS or closest < CLOSEST_TICKS * (last - first) or longest > LONGEST_TICK:
        integers = all(value.is_integer() for value in measured)
        ticks = [tick for tick in MaxNLocator(integer=integers).tick_values(first, last) if first <= tick <= last]
        if integers:
            step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
            ticks = [*(tick for tick in ticks if tick < last - CLOSEST_TO_LAST * step), last]
        measured = ticks
    axes.set_xticks(measured, [f"{value:g}" for value in measured])
    axes.set_xmargin(0.02)


def _bars(axes: Axes, figure: BarFigure, rows: Sequence[Row], all_rows: Sequence[Row]) -> None:
    categories, groups = _values(all_rows, figure.x), _values(all_rows, figure.by) or [None]
    width = 0.8 / len(groups)
    for group, by in enumerate(groups):
        bars = [row for row in rows if _is(row, figure.by, by) and row[figure.y] is not None]
        x = [categories.index(row[figure.x]) + (group - (len(groups) - 1) / 2) * width for row in bars]
        heights = _numbers(bars, figure.y)
        errors = None
        if figure.low is not None and figure.high is not None:
            low, high = _numbers(bars, figure.low), _numbers(bars, figure.high)
            errors = np.clip([np.subtract(heights, low), np.subtract(high, heights)], 0, None)
        label = None if by is None else str(by)
        colour = _colour(by, group)
        axes.bar(x, heights, width, yerr=errors, capsize=2, color=colour, edgecolor="black", linewidth=0.5, label=label)
    _word_ticks(axes.xaxis, categories)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.grid(axis="y", alpha=0.25)


def _points(axes: Axes, figure: ScatterFigure, rows: Sequence[Row], all_rows: Sequence[Row]) -> None:
    for index, by in enumerate(_values(all_rows, figure.by) or [None]):
        points = [row for row in rows if _is(row, figure.by, by)]
        axes.scatter(
            _numbers(points, figure.x),
            _numbers(points, figure.y),
            s=14,
            color=_colour(by, index),
            marker=MARKERS[index % len(MARKERS)],
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
    wrapped = len(words) <= FEW_WORDS
    names = [as_written(textwrap.fill(str(word), WORD_WIDTH) if wrapped else str(word)) for word in words[::step]]
    axis.set_ticks(range(0, len(words), step), names, fontsize=LABEL_SIZE)
    if isinstance(axis, XAxis) and not wrapped and any(isinstance(word, str) for word in words):
        for label in axis.get_ticklabels():
            label.set(rotation=30, horizontalalignment="right")


def _legend(canvas: Canvas, panels: Sequence[Axes]) -> None:
    """Put the legend below the panels, in added space, where it hides nothing."""
    named: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    named.pop("", None)
    if not named:
        return
    width, height = canvas.get_size_inches()
    columns = max(1, min(len(named), MOST_COLUMNS, int(width / (HANDLE + LETTER * max(map(len, named))))))
    canvas.set_size_inches(width, height + LEGEND_ROW * -(-len(named) // columns))
    labels = [as_written(label) for label in named]
    canvas.legend(named.values(), labels, loc="outside lower center", ncols=columns, fontsize=LEGEND_SIZE)


def _values(rows: Sequence[Row], column: str | None) -> list[Cell]:
    """Return the distinct values of a column, in order of appearance."""
    return list(dict.fromkeys(row[column] for row in rows)) if column is not None else []


def _is(row: Row, column: str | None, value: Cell) -> bool:
    return column is None or row[column] == value


def _numbers(rows: Sequence[Row], column: str) -> list[float]:
    cells = (row[column] for row in rows)
    return [float(cell) if isinstance(cell, int | float) else float("nan") for cell in cells]


def _colour(by: Cell, index: int) -> str:
    return COLOURS.get(str(by), PALETTE[index % len(PALETTE)])
