"""What an analysis found: tables of numbers, and figures that are drawn from these tables alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Cell = str | int | float | None


class Table(BaseModel):
    """Rows of numbers and words, one thing measured a row."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The name of its CSV file, without the ending."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def column(self, name: str) -> list[Cell]:
        """Return the cells of one column."""
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def csv(self) -> str:
        """Return the table as CSV with a line of headings; what was not measured is left empty."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return stream.getvalue()


def make_table(name: str, title: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """Return a table of rows that all have one cell a column."""
    made = tuple(tuple(row) for row in rows)
    assert all(len(row) == len(columns) for row in made)
    return Table(name=name, title=title, columns=tuple(columns), rows=made)


class _Figure(BaseModel):
    """What all figures have. Columns are those of the table ``table`` of the same result."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The name of its files, without the endings."""
    title: str
    table: str
    x: str
    y: str
    x_label: str
    y_label: str
    """With the unit."""
    panel: str | None = None
    """A column whose values each have axes of their own, side by side."""


class LineFigure(_Figure):
    """A line for each value of ``by``, in one style for each value of ``style``."""

    kind: Literal["lines"] = "lines"
    by: str | None = None
    style: str | None = None
    low: str | None = None
    """With ``high``: columns with the ends of a band around the line."""
    high: str | None = None
    band_of: tuple[str, ...] | None = None
    """Values of ``by`` whose band is drawn, where all of them would make one grey mass; None for all."""
    mark: float | None = None
    """A place on the x axis that is marked with an upright line."""
    mark_label: str | None = None
    """What the legend calls that place."""
    level_label: str = "source"
    """What rows without a place on the x axis are of: they are drawn as level lines to compare with."""
    log: bool = False
    """Whether the y axis is logarithmic."""


class BarFigure(_Figure):
    """A bar for each value of ``x``, in groups where there is ``by``."""

    kind: Literal["bars"] = "bars"
    by: str | None = None
    low: str | None = None
    """With ``high``: columns with the ends of an interval."""
    high: str | None = None


class ScatterFigure(_Figure):
    """A point for each row, coloured and shaped by ``by``; the axes have no scale that means anything."""

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


class Findings(BaseModel):
    """What an analysis makes of its observations."""

    model_config = ConfigDict(frozen=True)

    tables: tuple[Table, ...]
    """The first is short and shown at once."""
    figures: tuple[Figure, ...]
    told: tuple[str, ...] = ()
    """What was found, in sentences, the most important first, with its numbers; then how to read them."""

    def table(self, name: str) -> Table:
        """Return the table of that name."""
        return next(table for table in self.tables if table.name == name)
