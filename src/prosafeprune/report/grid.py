"""Result tables: defined once as a ``Grid``, rendered to a terminal, to Markdown and to HTML pages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from prosafeprune.text import for_markdown, for_terminal

NUMBER = re.compile(r"[(+\-−<± ]*\d")
TEXT_WIDTH = 16
"""Columns that a cell of words needs at least; longer ones are wrapped."""


DRAFT = "DRAFT, measured on a few prompts only"


def as_draft(caption: str, is_draft: bool) -> str:
    """Return a caption or title, marked if what is below it is a draft."""
    return f"{DRAFT}. {caption}" if is_draft else caption


@dataclass(frozen=True)
class Grid:
    """Rows of text cells; the first cell of a row is its label. An empty cell means "not measured".

    The first line of a cell is its value; further lines are details, such as an interval, and are shown smaller.

    Raises:
        ValueError: a row has more or fewer cells than there are headings.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    """Lines below the table that explain its terms."""
    marked: Collection[int] = ()
    """Indices of rows in bold; their cells must say why."""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.headings) for row in self.rows):
            raise ValueError(f"a row of '{self.caption}' does not have {len(self.headings)} cells")

    @property
    def numeric(self) -> list[bool]:
        """For each column, whether it holds numbers, which are right-aligned."""
        columns = ([row[i] for row in self.rows if row[i] not in ("", "-")] for i in range(len(self.headings)))
        return [i > 0 and all(NUMBER.match(cell) for cell in column) for i, column in enumerate(columns)]

    def terminal(self, width: int) -> Group:
        """Return the table for a terminal of ``width`` columns.

        A table that is too wide is transposed; if that is too wide as well, its columns continue in further tables.
        """
        parts = [self] if self._width() <= width else list(self._transposed()._split(width))
        notes = [Text(for_terminal(note), style="dim") for note in self.notes]
        return Group(Text(for_terminal(self.caption), style="bold"), *(part._table() for part in parts), *notes, "")

    def markdown(self) -> str:
        """Return the table in Markdown, without caption and notes."""
        lines = [self.headings, ["---:" if numeric else "---" for numeric in self.numeric], *self.rows]
        return "".join(f"| {' | '.join(map(_markdown_cell, line))} |\n" for line in lines)

    def _column_widths(self) -> list[int]:
        widths = []
        for i, numeric in enumerate(self.numeric):
            lines = [line for cell in (self.headings[i], *(row[i] for row in self.rows)) for line in cell.split("\n")]
            longest = max(map(len, lines))
            widths.append(longest if numeric or i == 0 else min(longest, TEXT_WIDTH))
        return widths

    def _width(self) -> int:
        return sum(self._column_widths()) + 3 * len(self.headings) + 1

    def _transposed(self) -> Grid:
        rows = [
            [heading.replace("\n", " "), *(row[i] for row in self.rows)]
            for i, heading in enumerate(self.headings)
            if i > 0
        ]
        return Grid(self.caption, [self.headings[0], *(row[0] for row in self.rows)], rows)

    def _split(self, width: int) -> Iterator[Grid]:
        """Yield grids of consecutive columns that fit the width, each with the labels; at least one column each."""
        widths = self._column_widths()
        run: list[int] = []
        for column in range(1, len(self.headings)):
            if run and widths[0] + sum(widths[i] for i in (*run, column)) + 3 * (len(run) + 2) + 1 > width:
                yield self._of_columns(run)
                run = []
            run.append(column)
        yield self._of_columns(run)

    def _of_columns(self, columns: Sequence[int]) -> Grid:
        kept = (0, *columns)
        return Grid(self.caption, [self.headings[i] for i in kept], [[row[i] for i in kept] for row in self.rows])

    def _table(self) -> Table:
        details = any("\n" in cell for row in self.rows for cell in row)
        table = Table(show_lines=details, show_header=any(self.headings))
        for i, (heading, numeric) in enumerate(zip(self.headings, self.numeric, strict=True)):
            table.add_column(
                Text(for_terminal(heading)),
                justify="right" if numeric else "left",
                no_wrap=numeric or i == 0,
                overflow="fold",
            )
        for i, row in enumerate(self.rows):
            table.add_row(*map(_terminal_cell, row), style="bold" if i in self.marked else None)
        return table


def _terminal_cell(cell: str) -> Text:
    # Text, not str: rich would read markup in what a model or a user wrote.
    value, newline, details = for_terminal(cell).partition("\n")
    return Text(value).append(newline + details, style="dim")


def _markdown_cell(cell: str) -> str:
    return "<br>".join(map(for_markdown, cell.split("\n")))
