"""Tables of an analysis for display, in the terminal and on pages."""

from __future__ import annotations

from prosafeprune.analysis.result import Cell, ResultTable
from prosafeprune.report.grid import Grid


def result_grid(table: ResultTable, title: str = "") -> Grid:
    """Return a table of a result, with ``title`` before its own."""
    caption = f"{title}. {table.title}" if title else table.title
    headings = [name.replace("_", " ") for name in table.columns]
    return Grid(caption, headings, [[cell_text(cell) for cell in row] for row in table.rows])


def cell_text(cell: Cell) -> str:
    """Return a cell for display: at most three significant digits, and a dash for a missing value."""
    if cell is None:
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    if cell == 0:
        return "0"
    # Below a thousandth, one digit: only the order of magnitude matters.
    return f"{cell:.0f}" if abs(cell) >= 99.95 else f"{cell:.3g}" if abs(cell) >= 0.001 else f"{cell:.1g}"
