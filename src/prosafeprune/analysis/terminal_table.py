"""What sums an analysis up, for a terminal: its first table, and what it tells in sentences."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from prosafeprune.analysis.catalogue import Entry
from prosafeprune.analysis.result import Cell, Findings


def first_table(entry: Entry, findings: Findings) -> Table:
    """Return the table that sums an analysis up."""
    found = findings.tables[0]
    table = Table(title=Text(f"{entry.title}\n{found.title}"))
    for place, name in enumerate(found.columns):
        words = all(isinstance(row[place], str) for row in found.rows)
        table.add_column(Text(name.replace("_", " ")), justify="left" if words else "right")
    for row in found.rows:
        table.add_row(*(Text(cell_text(cell)) for cell in row))
    return table


def told_text(findings: Findings) -> Text:
    """Return what was found in sentences, a line each; no markup is read in them."""
    return Text("".join(f"{sentence}\n" for sentence in findings.told))


def cell_text(cell: Cell) -> str:
    """Return a cell as people read it: three digits that count at most, and a dash for what was not measured."""
    if cell is None:
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    if cell == 0:
        return "0"
    # What is smaller than a thousandth has one digit: how small it is says all there is to say.
    return f"{cell:.0f}" if abs(cell) >= 99.95 else f"{cell:.3g}" if abs(cell) >= 0.001 else f"{cell:.1g}"
