"""What figures of analyses show: nothing hidden, nothing beyond what was measured, something to compare with."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure as Canvas

from prosafeprune.analysis.figure_drawing import plot
from prosafeprune.analysis.result import Cell, HeatFigure, LineFigure, ResultTable, make_table
from prosafeprune.plotting import svg_data_uri

LABELS: dict[str, Any] = {"name": "f", "title": "t", "table": "t", "x_label": "x", "y_label": "y"}


def lines(columns: str, rows: list[tuple[Cell, ...]], stacked: bool = False, **settings: Any) -> Canvas:
    """Draw a figure of ``v`` over ``n``, its layout settled."""
    table: ResultTable = make_table("t", "t", columns.split(), rows)
    canvas = plot(LineFigure(**{**LABELS, "x": "n", "y": "v", **settings}), table, stacked=stacked)
    canvas.draw_without_rendering()
    return canvas


def legend(canvas: Canvas) -> list[str]:
    (found,) = canvas.legends
    return [text.get_text() for text in found.get_texts()]


@pytest.mark.parametrize("panel", [None, "p"])
def test_a_legend_hides_no_data_and_can_be_read(panel: str | None) -> None:
    rows = [(n, w, p, n * 0.2) for n in range(3) for w in ("benign", "harmful") for p in ("before", "after")]
    canvas = lines("n w p v", rows, by="w", panel=panel)
    assert legend(canvas) == ["benign", "harmful"]
    assert all(axes.get_legend() is None for axes in canvas.axes)
    (found,) = canvas.legends
    assert found.get_window_extent().y1 < min(axes.get_tightbbox().y0 for axes in canvas.axes)
    assert all(text.get_fontsize() >= 8 for text in found.get_texts())
    (plain,) = lines("n w p v", rows[::2][:3]).axes
    assert canvas.axes[0].get_window_extent().height > 0.8 * plain.get_window_extent().height  # room of its own


def test_a_legend_of_long_names_stays_in_the_picture() -> None:
    names = [f"a rather long name of a line, number {i}" for i in range(5)]
    canvas = lines("n w v", [(n, name, n) for n in range(3) for name in names], by="w")
    assert legend(canvas) == names
    box, frame = canvas.legends[0].get_window_extent(), canvas.bbox
    assert box.x0 >= 0
    assert box.x1 <= frame.x1


@pytest.mark.parametrize("layers", [2, 16, 24, 28, 32, 80])
def test_an_axis_of_layers_ends_with_the_last_layer(layers: int) -> None:
    (axes,) = lines("n v", [(n, n * 0.1) for n in range(layers)]).axes
    ticks = axes.get_xticks().tolist()
    assert (ticks[0], ticks[-1]) == (0, layers - 1)
    assert all(tick.is_integer() for tick in ticks)
    assert len(ticks) <= 17
    assert axes.get_xlim()[1] < 1.03 * (layers - 1)


def test_a_few_places_are_labelled_as_they_are() -> None:
    (axes,) = lines("n v", [(n, 1) for n in (4, 8, 16, 32, 64)]).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "8", "16", "32", "64"]
    (close,) = lines("n v", [(n, 1) for n in (1, 2, 3, 64)]).axes
    assert close.get_xticks().tolist() != [1, 2, 3, 64]  # their labels would run into one another


def test_what_has_no_place_on_the_axis_is_a_level_line_of_its_colour() -> None:
    rows: list[tuple[Cell, ...]] = [(None, "C.R.", 13.0), (None, "S.S.", 90.0)]
    rows += [(n, name, 50.0) for n in (4, 16) for name in ("C.R.", "S.S.")]
    canvas = lines("n w v", rows, by="w")
    assert legend(canvas) == ["C.R.", "C.R., base model", "S.S.", "S.S., base model"]
    by_name = {line.get_label(): line for line in canvas.axes[0].get_lines()}
    assert list(by_name["C.R., base model"].get_ydata()) == [13.0, 13.0]
    assert list(by_name["S.S., base model"].get_ydata()) == [90.0, 90.0]
    for name in ("C.R.", "S.S."):
        level = by_name[f"{name}, base model"]
        assert to_rgba(level.get_color()) == to_rgba(by_name[name].get_color())
        assert level.get_linestyle() == "--"
        assert list(by_name[name].get_xdata()) == [4, 16]


def test_only_the_bands_asked_for_are_drawn_and_the_mark_has_a_name() -> None:
    rows: list[tuple[Cell, ...]] = [(n, w, 0.5, 0.4, 0.6) for n in range(3) for w in ("a", "b", "c")]
    asked = {"by": "w", "low": "l", "high": "h"}
    assert len(lines("n w v l h", rows, **asked).axes[0].collections) == 3
    canvas = lines("n w v l h", rows, **asked, band_of=("b",), mark=1, mark_label="rank 1")
    (band,) = canvas.axes[0].collections
    blue, orange = (line.get_color() for line in canvas.axes[0].get_lines()[:2])
    assert to_rgba(band.get_facecolor()[0], 1) == to_rgba(orange) != to_rgba(blue)
    assert legend(canvas)[-1] == "rank 1"
    assert "rank 1" not in legend(lines("n w v l h", rows, **asked, mark=1))


def test_panels_stand_side_by_side_or_one_below_another() -> None:
    rows: list[tuple[Cell, ...]] = [(n, p, 0.5) for n in range(3) for p in ("one", "two", "three")]
    beside, below = (lines("n p v", rows, stacked, panel="p") for stacked in (False, True))
    boxes = [axes.get_window_extent() for axes in below.axes]
    assert [axes.get_title() for axes in below.axes] == ["one", "two", "three"]
    assert len({round(box.x0) for box in boxes}) == 1
    assert boxes[0].y0 > boxes[1].y1 > boxes[1].y0 > boxes[2].y1
    assert below.get_size_inches()[0] == 5  # as wide as any figure, so that its text is as large on a phone
    assert beside.get_size_inches()[0] == 15
    assert [axes.get_ylabel() for axes in below.axes] == ["y"] * 3
    assert [axes.get_xlabel() for axes in below.axes] == ["", "", "x"]
    assert [axes.get_ylabel() for axes in beside.axes] == ["y", "", ""]


def test_stacked_maps_share_one_scale() -> None:
    rows: list[tuple[Cell, ...]] = [(n, "q", p, 0.5) for n in range(3) for p in ("one", "two")]
    figure = HeatFigure(**LABELS, x="n", y="w", value="v", value_label="v", panel="p")
    canvas = plot(figure, make_table("t", "t", ("n", "w", "p", "v"), rows), stacked=True)
    assert len(canvas.axes) == 3


def test_words_of_others_are_shown_as_they_are() -> None:
    rows: list[tuple[Cell, ...]] = [(n, "$x$ \\frac{ \x00", n) for n in range(3)]
    canvas = lines("n w v", rows, by="w", title="costs $1 or $2")
    (text,) = canvas.legends[0].get_texts()
    assert text.get_text() == "\\$x\\$ \\frac{ \ufffd"
    svg = base64.b64decode(svg_data_uri(canvas).partition(",")[2]).decode()
    assert ">$x$ \\frac{ \ufffd</text>" in svg
    assert ">costs $1 or $2</text>" in svg
