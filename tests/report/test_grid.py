"""A grid in terminals of several widths and in Markdown: no cell is cut, and nothing in a cell is interpreted."""

from __future__ import annotations

import io
import re
from html import unescape

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from prosafeprune.report.grid import Grid

METHODS = ("default", "prompt", "self-cd", "scan", "surgical", "prosafeprune")
SETS = ("XSTest-Safe", "OKTest", "OR-Bench-Hard-1K", "PHTest")
GRID = Grid(
    "Rates",
    ["", *(f"{name}\nC.R., 40" for name in SETS), "Avg.\nC.R."],
    [
        [
            method,
            *(f"{number}{i}.5\n{number}{i}.1 to {number}{i}.9\n+1.{i}, p 0.{number}{i}" for i in range(4)),
            f"{number}4.5",
        ]
        for number, method in enumerate(METHODS)
    ],
    ["What they mean."],
)


def shown(grid: Grid, width: int) -> list[str]:
    """Return the lines of a grid in a terminal of this width."""
    stream = io.StringIO()
    Console(file=stream, width=width).print(grid.terminal(width))
    return stream.getvalue().split("\n")


@pytest.mark.parametrize("width", [50, 60, 80, 100, 130, 200])
def test_no_cell_is_cut_however_narrow_the_terminal(width: int) -> None:
    lines = shown(GRID, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for label, *cells in GRID.rows:
        assert label in text
        assert all(line in text for cell in cells for line in cell.split("\n"))
    assert text.count("Rates") == text.count("What they mean.") == 1


def test_a_narrow_terminal_has_a_row_for_each_set() -> None:
    lines = shown(GRID, 60)
    at = next(number for number, line in enumerate(lines) if line.startswith("│ OKTest C.R., 40"))
    cells = [[cell.strip() for cell in line.split("│")[1:3]] for line in lines[at : at + 3]]
    assert cells == [["OKTest C.R., 40", "01.5"], ["", "01.1 to 01.9"], ["", "+1.1, p 0.01"]]


def test_a_wide_terminal_has_a_row_for_each_method() -> None:
    assert any(line.startswith("│ surgical") and line.count("│") == 7 for line in shown(GRID, 200))


def test_words_wrap_before_a_table_is_transposed() -> None:
    grid = Grid("Answers", ["", "n", "answer"], [["one", "1", "word " * 30]])
    lines = shown(grid, 60)
    assert max(map(len, lines)) <= 60
    assert " ".join(lines).count("word") == 30
    assert any("answer" in line and " n " in line for line in lines)


def test_neither_markup_nor_escape_sequences_are_interpreted() -> None:
    evil = "[bold]x[/bold][/]\x1b]0;title\x07\x1b[2J\u202eabc"
    text = "\n".join(shown(Grid(evil, ["", evil], [[evil, evil]], [evil]), 200))
    assert text.count("[bold]x[/bold][/]abc") == 5
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)


def test_markdown_has_a_line_per_row_and_escapes_cells() -> None:
    grid = Grid("t", ["", "rate\n95 %"], [["a|b", "1.5\n1 to 2"], ["<img src=x>", ""]])
    assert grid.markdown() == (
        "|  | rate<br>95 % |\n| --- | ---: |\n| a\\|b | 1.5<br>1 to 2 |\n| &lt;img src=x> |  |\n"
    )


@pytest.mark.parametrize("cell", ["a\\|b", "a\\\\|b", "**b** a\\", "`x` <i>", "[x](y) ~~z~~", "_it_ a_b", "&amp;"])
def test_markdown_shows_a_cell_as_it_is(cell: str) -> None:
    html = MarkdownIt().enable(["table", "strikethrough"]).render(Grid("t", ["", "n"], [[cell, "1"]]).markdown())
    assert [unescape(found) for found in re.findall("<td[^>]*>(.*)</td>", html)] == [cell, "1"]


def test_the_chosen_row_is_bold() -> None:
    stream = io.StringIO()
    grid = Grid("t", ["", "n"], [["one", "1"], ["two, chosen", "2"]], marked=[1])
    Console(file=stream, width=80, force_terminal=True, color_system="standard").print(grid.terminal(80))
    assert re.search("\x1b\\[1m *two, chosen", stream.getvalue())
    assert not re.search("\x1b\\[1m *one", stream.getvalue())
