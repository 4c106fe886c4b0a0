"""What an analysis leaves on the disk: figures, tables and observations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prosafeprune.analysis.analysis_folder import AnalysisFolder
from prosafeprune.analysis.figure_drawing import draw
from prosafeprune.analysis.result import BarFigure, HeatFigure, LineFigure, ScatterFigure, make_table
from prosafeprune.errors import InputError


@pytest.mark.long
@pytest.mark.parametrize(
    "figure",
    [
        LineFigure(name="f", title="t", table="t", x="n", y="v", by="w", style="p", x_label="x", y_label="y", mark=2),
        LineFigure(
            name="f", title="t" * 90, table="t", x="n", y="v", panel="p", low="v", high="v", x_label="x", y_label="y"
        ),
        BarFigure(name="f", title="t", table="t", x="w", y="v", by="p", low="v", high="v", x_label="x", y_label="y"),
        ScatterFigure(name="f", title="t", table="t", x="n", y="v", by="w", panel="p", x_label="x", y_label="y"),
        HeatFigure(
            name="f",
            title="t",
            table="t",
            x="n",
            y="w",
            value="v",
            panel="p",
            x_label="x",
            y_label="y",
            value_label="v",
        ),
    ],
)
@pytest.mark.usefixtures("coarse_figures")
def test_figures_allow_missing_values_and_are_repeatable(figure: Any) -> None:
    rows = [
        (n, w, p, None if n == 1 else n * 0.3 - 0.2) for n in range(4) for w in ("benign", "b") for p in ("before", "c")
    ]
    table = make_table("t", "t", ("n", "w", "p", "v"), rows)
    drawn = draw(figure, table)
    assert draw(figure, table) == drawn
    other = make_table("t", "t", table.columns, [(*row[:3], 0.9) for row in rows])
    assert draw(figure, other)["svg"] != drawn["svg"]


def test_missing_values_are_empty_in_csv() -> None:
    table = make_table("t", "t", ("a", "b"), [(1, None), ("x,y", 0.25)])
    assert table.csv() == 'a,b\n1,\n"x,y",0.25\n'


def test_observations_survive_the_disk(tmp_path: Path) -> None:
    folder = AnalysisFolder(tmp_path / "a", {"x": 1})
    assert folder.observation("before") is None
    folder.save_observation("before", {"numbers": np.arange(3.0), "words": np.array(["a", "bc"])})
    saved = AnalysisFolder(tmp_path / "a", {"x": 1}).observation("before")
    assert saved is not None
    assert saved["words"].tolist() == ["a", "bc"]
    (tmp_path / "a" / "before.npz").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read"):
        folder.observation("before")
