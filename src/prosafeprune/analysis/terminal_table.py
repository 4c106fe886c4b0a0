"""An analysis's first table, for a terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from prosafeprune.analysis.catalogue import Entry
from prosafeprune.analysis.result import Cell, Findings


def first_table(entry: Entry, findings: Findings) -> Table:
    """Return the table that sums an analysis up."""
    found = findings.tables[0]
    table = Table(title=f"{entry.title}\n{found.title}")
    for place, name in enumerate(found.columns):
        words = all(isinstance(row[place], str) for row in found.rows)
        table.add_column(name.replace("_", " "), justify="left" if words else "right")
    for row in found.rows:
        table.add_row(*(Text(cell_text(cell)) for cell in row))
    return table


def cell_text(cell: Cell) -> str:
    """Return a cell as people read it: four digits, and a dash for what was not measured."""
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
