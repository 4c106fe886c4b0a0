"""The result of an analysis: tables, figures drawn from these tables alone, and a summary in sentences."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from prosafeprune.report.grid import Grid

Observation = dict[str, np.ndarray]
"""What was measured on one model: named arrays, saved so that an interrupted run does not measure again."""
Cell = str | int | float | None


class ResultTable(BaseModel):
    """Rows of numbers and words, one measurement per row."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The name of its CSV file, without the ending."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def csv(self) -> str:
        """Return the table as CSV with a header line; missing values are empty."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return stream.getvalue()


def make_table(name: str, title: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> ResultTable:
    """Return a table whose rows have one cell per column."""
    cells = tuple(tuple(row) for row in rows)
    assert all(len(row) == len(columns) for row in cells)
    return ResultTable(name=name, title=title, columns=tuple(columns), rows=cells)


class _Figure(BaseModel):
    """What all figures have. Columns are those of the table ``table`` of the same result."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The name of its files, without the endings."""
    title: str
    table: str = Field(default_factory=lambda figure: figure["name"])
    x: str
    y: str
    x_label: str = Field(default_factory=lambda figure: figure["x"])
    y_label: str = Field(default_factory=lambda figure: figure["y"])
    """The label of the y axis, with the unit."""
    panel: str | None = None
    """A column; each of its values gets a separate panel."""


class LineFigure(_Figure):
    """A line for each value of ``by``, in one style for each value of ``style``."""

    kind: Literal["lines"] = "lines"
    by: str | None = None
    style: str | None = None
    low: str | None = None
    """The column with the lower bound of a band around the line; ``high`` is that with the upper bound."""
    high: str | None = None
    band_of: tuple[str, ...] | None = None
    """Values of ``by`` whose band is drawn, where all bands together would hide each other; None for all."""
    mark: float | None = None
    """An x value marked with a vertical line."""
    mark_label: str | None = None
    """The legend's name for that line."""
    level_label: str = "base model"
    """The legend's name for rows without an x value, which are drawn as horizontal reference lines."""
    log: bool = False
    """Whether the y axis is logarithmic."""


class BarFigure(_Figure):
    """A bar for each value of ``x``, grouped by ``by``."""

    kind: Literal["bars"] = "bars"
    by: str | None = None
    low: str | None = None
    """The column with the lower bound of an interval; ``high`` is that with the upper bound."""
    high: str | None = None


class ScatterFigure(_Figure):
    """A point for each row, coloured and shaped by ``by``; the scale of the axes has no meaning."""

    kind: Literal["points"] = "points"
    by: str | None = None


class HeatFigure(_Figure):
    """A coloured cell for each row."""

    kind: Literal["heat"] = "heat"
    value: str
    value_label: str
    lowest: float = 0.0
    highest: float = 1.0


Figure = Annotated[LineFigure | BarFigure | ScatterFigure | HeatFigure, Field(discriminator="kind")]


class AnalysisResult(BaseModel):
    """What an analysis concludes from its observations."""

    model_config = ConfigDict(frozen=True)

    tables: tuple[ResultTable, ...]
    """The result's tables; the first one is short and shown in the terminal."""
    figures: tuple[Figure, ...]
    summary: tuple[str, ...] = Field((), validation_alias=AliasChoices("told", "summary"), serialization_alias="told")
    """The findings in sentences, most important first, with numbers; then how to read them. ``told`` on disk."""

    @model_validator(mode="after")
    def _has_what_figures_show(self) -> Self:
        tables = {table.name: table for table in self.tables}
        if not tables or any(len(row) != len(table.columns) for table in self.tables for row in table.rows):
            raise ValueError("it has no table, or a row that does not fit its columns")
        for figure in self.figures:
            shown = tables[figure.table].columns if figure.table in tables else ()
            if figure.x not in shown or figure.y not in shown:
                raise ValueError(f"the figure {figure.name} shows what is in no table")
        return self

    def table(self, name: str) -> ResultTable:
        """Return the table of that name."""
        return next(table for table in self.tables if table.name == name)


def result_grid(table: ResultTable, title: str = "") -> Grid:
    """Return a table of a result, with ``title`` before its own."""
    caption = f"{title.removesuffix('.')}. {table.title}" if title else table.title
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
