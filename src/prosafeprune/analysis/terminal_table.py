"""An analysis in the terminal: its first table, and its summary."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from prosafeprune.analysis.catalogue import CatalogueEntry
from prosafeprune.analysis.result import AnalysisResult, Cell


def summary_table(entry: CatalogueEntry, result: AnalysisResult) -> Table:
    """Return the first table of a result."""
    first = result.tables[0]
    table = Table(title=Text(f"{entry.title}\n{first.title}"))
    for index, name in enumerate(first.columns):
        is_text = all(isinstance(row[index], str) for row in first.rows)
        table.add_column(Text(name.replace("_", " ")), justify="left" if is_text else "right")
    for row in first.rows:
        table.add_row(*(Text(cell_text(cell)) for cell in row))
    return table


def summary_text(result: AnalysisResult) -> Text:
    """Return the summary, one sentence per line, not parsed as markup."""
    return Text("".join(f"{sentence}\n" for sentence in result.summary))


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
