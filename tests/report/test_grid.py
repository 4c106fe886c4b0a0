"""A grid in terminals of several widths: no cell is cut, and further rows stay with the one they tell of."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from prosafeprune.report.grid import Grid

METHODS = ("default", "prompt", "self-cd", "scan", "surgical", "prosafeprune")
GRID = Grid.padded(
    [f"{name}\nC.R., 40" for name in ("XSTest-Safe", "OKTest", "OR-Bench-Hard-1K", "PHTest")] + ["Avg.\nC.R."],
    [
        row
        for number, method in enumerate(METHODS)
        for row in (
            (method, [f"{number}{column}.5" for column in range(5)]),
            ("  95 % interval", [f"{number}{column}.1-{number}{column}.9" for column in range(4)]),
            *([("  p", [f"0.0{number}{column}" for column in range(5)])] if number else []),
        )
    ],
)


def shown(width: int) -> list[str]:
    """Return the lines of the grid in a terminal so wide."""
    stream = io.StringIO()
    Console(file=stream, width=width).print(GRID.table("Rates", "What they mean.", width))
    return stream.getvalue().split("\n")


@pytest.mark.parametrize("width", [60, 80, 100, 130, 200])
def test_no_cell_is_cut_however_narrow_the_terminal(width: int) -> None:
    lines = shown(width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for label, cells in GRID.rows:
        assert label.strip() in text
        assert all(cell in text for cell in cells)
    assert text.count("Rates") == text.count("What they mean.") == 1


def test_further_rows_stand_below_the_figures_they_tell_of() -> None:
    lines = shown(60)
    at = next(number for number, line in enumerate(lines) if line.startswith("│ OKTest C.R., 40"))
    cells = [[cell.strip() for cell in line.split("│")[1:4]] for line in lines[at : at + 3]]
    assert cells == [
        ["OKTest C.R., 40", "01.5", "11.5"],
        ["95 % interval", "01.1-01.9", "11.1-11.9"],
        ["p", "", "0.011"],
    ]
    average = next(line for line in lines if line.startswith("│ Avg. C.R."))
    assert lines[lines.index(average) + 1].startswith("│   p")  # no interval of averages


def test_a_wide_terminal_has_a_row_for_each_method() -> None:
    assert any(line.startswith("│ surgical") and line.count("│") == 7 for line in shown(200))
