"""Results as headings and named rows of cells: shown in a terminal, or written as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Group
from rich.table import Table

INDENT = "  "
"""What the label of a row begins with that tells more of the one above it."""


@dataclass
class _Column:
    """A row stood upright, with those that tell more of it: their cells are further lines below its own."""

    label: str
    cells: list[str]
    further: dict[str, list[str]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Characters it takes."""
        lines = (self.cells, *self.further.values())
        return max(len(self.label), *(len(cell) for cells in lines for cell in cells))


@dataclass(frozen=True)
class Grid:
    """Headings and named rows of cells; an empty cell stands for nothing measured."""

    headings: list[str]
    rows: list[tuple[str, list[str]]]

    @classmethod
    def padded(cls, headings: list[str], rows: list[tuple[str, list[str]]]) -> Grid:
        """Return a grid of rows that may be short of cells at the end."""
        return cls(headings, [(label, cells + [""] * (len(headings) - len(cells))) for label, cells in rows])

    def table(self, title: str, caption: str, width: int) -> Group:
        """Return it as a table for a terminal, not wider than that.

        Where it is too wide, headings and rows change places; where it still is, columns go on in a table below.
        """
        if self._width() <= width:
            tables = [self._flat()]
        else:
            tables = [self._upright(columns) for columns in _fitting(self._columns(), width - self._label_width())]
        tables[0].title, tables[-1].caption = title, caption
        return Group(*tables)

    def markdown(self) -> str:
        """Return it as a table in Markdown."""
        lines = [
            ["", *(heading.replace("\n", "<br>") for heading in self.headings)],
            ["---", *["---:"] * len(self.headings)],
            *([label, *cells] for label, cells in self.rows),
        ]
        return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)

    def _width(self) -> int:
        columns = [max(len(line) for line in heading.split("\n")) for heading in self.headings]
        columns = [max([own, *(len(cells[i]) for _, cells in self.rows)]) for i, own in enumerate(columns)]
        return max(len(label) for label, _ in self.rows) + sum(columns) + 3 * (len(columns) + 1) + 1

    def _label_width(self) -> int:
        labels = [heading.replace("\n", " ") for heading in self.headings]
        labels += [label for label, _ in self.rows if label.startswith(INDENT)]
        return max(map(len, labels)) + 4

    def _flat(self) -> Table:
        table = Table()
        table.add_column("", no_wrap=True)
        for heading in self.headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for label, cells in self.rows:
            table.add_row(label, *cells)
        return table

    def _columns(self) -> list[_Column]:
        columns: list[_Column] = []
        for label, cells in self.rows:
            if label.startswith(INDENT) and columns:
                columns[-1].further[label] = cells
            else:
                columns.append(_Column(label, cells))
        return columns

    def _upright(self, columns: Sequence[_Column]) -> Table:
        table = Table()
        table.add_column("", no_wrap=True)
        for column in columns:
            table.add_column(column.label, justify="right")
        further = _in_order(columns)
        for i, heading in enumerate(self.headings):
            lines = [(heading.replace("\n", " "), [column.cells[i] for column in columns])]
            for label in further:
                cells = [column.further[label][i] if label in column.further else "" for column in columns]
                if any(cells):
                    lines.append((label, cells))
            for line, (label, cells) in enumerate(lines):
                table.add_row(label, *cells, end_section=0 < line == len(lines) - 1)
        return table


def _in_order(columns: Sequence[_Column]) -> list[str]:
    """Return the labels of all further lines, each behind those that it is behind anywhere."""
    places: dict[str, int] = {}
    for column in columns:
        for place, label in enumerate(column.further):
            places[label] = max(place, places.get(label, 0))
    return sorted(places, key=lambda label: places[label])


def _fitting(columns: Sequence[_Column], width: int) -> Iterator[list[_Column]]:
    """Yield runs of columns that fit a width, a single one where none does."""
    run: list[_Column] = []
    for column in columns:
        if run and sum(one.width + 3 for one in (*run, column)) > width:
            yield run
            run = []
        run.append(column)
    yield run
