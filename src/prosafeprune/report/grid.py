"""Results as headings and named rows of cells: shown in a terminal, or written as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Grid:
    """Headings and named rows of cells; an empty cell stands for nothing measured."""

    headings: list[str]
    rows: list[tuple[str, list[str]]]

    @classmethod
    def padded(cls, headings: list[str], rows: list[tuple[str, list[str]]]) -> Grid:
        """Return a grid of rows that may be short of cells at the end."""
        return cls(headings, [(label, cells + [""] * (len(headings) - len(cells))) for label, cells in rows])

    def table(self, title: str, caption: str, width: int) -> Table:
        """Return it as a table for a terminal; where it is too wide, headings and rows change places."""
        columns = [max(len(line) for line in heading.split("\n")) for heading in self.headings]
        columns = [max([own, *(len(cells[i]) for _, cells in self.rows)]) for i, own in enumerate(columns)]
        needed = max(len(label) for label, _ in self.rows) + sum(columns) + 3 * (len(columns) + 1) + 1
        table = Table(title=title, caption=caption)
        if needed <= width:
            table.add_column("", no_wrap=True)
            for heading in self.headings:
                table.add_column(heading, justify="right", no_wrap=True)
            for label, cells in self.rows:
                table.add_row(label, *cells)
            return table
        table.add_column("")
        for label, _ in self.rows:
            table.add_column(label, justify="right")
        for i, heading in enumerate(self.headings):
            table.add_row(heading.replace("\n", " "), *(cells[i] for _, cells in self.rows))
        return table

    def markdown(self) -> str:
        """Return it as a table in Markdown."""
        lines = [
            ["", *(heading.replace("\n", "<br>") for heading in self.headings)],
            ["---", *["---:"] * len(self.headings)],
            *([label, *cells] for label, cells in self.rows),
        ]
        return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
