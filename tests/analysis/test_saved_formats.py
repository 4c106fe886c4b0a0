"""Folders of version 0.1: results are still read, and saved answers are found again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from prosafeprune.analysis.analysis_folder import AnalysisFolder, read_result
from prosafeprune.analysis.answer_store import AnswerStore, Condition
from prosafeprune.analysis.result import AnalysisResult
from prosafeprune.errors import InputError
from prosafeprune.files.resumable_folder import ResumableFolder
from prosafeprune.generation import Decoding
from prosafeprune.progress import SilentReporter

TABLE = {"name": "rates", "title": "t", "columns": ["step", "C.R."], "rows": [["source", 10.0]]}
FIGURE = {
    "name": "rates",
    "title": "t",
    "table": "rates",
    "x": "step",
    "y": "C.R.",
    "x_label": "x",
    "y_label": "y",
    "panel": None,
    "kind": "lines",
    "by": None,
    "style": None,
    "low": None,
    "high": None,
    "band_of": None,
    "mark": None,
    "mark_label": None,
    "level_label": "source",
    "log": False,
}
FINDINGS: dict[str, Any] = {"tables": [TABLE], "figures": [FIGURE], "told": ["First.", "Second."]}


def test_a_result_of_version_0_1_is_read_and_written_alike(tmp_path: Path) -> None:
    made_by = {"model": "1"}
    folder = tmp_path / "strength"
    folder.mkdir()
    (folder / "made_by.json").write_text(json.dumps(made_by))
    (folder / "findings.json").write_text(json.dumps(FINDINGS))
    result = AnalysisFolder(folder, made_by).result()
    assert result is not None and result.summary == ("First.", "Second.")
    assert result.model_dump(mode="json", by_alias=True) == FINDINGS
    assert AnalysisResult(tables=result.tables, figures=result.figures, summary=result.summary) == result


@pytest.mark.parametrize("change", [{"tables": {}}, {"figures": [""]}, {"figures": [{**FIGURE, "level_label": True}]}])
def test_a_damaged_result_is_one_line(change: dict[str, Any], tmp_path: Path) -> None:
    """Also when the page of all analyses is written, which reads the results again."""
    (tmp_path / "layers").mkdir()
    folder = ResumableFolder(tmp_path, {"model": "1"})
    folder.write("layers/findings.json", {**FINDINGS, **change})
    with pytest.raises(InputError, match=r"findings\.json: is damaged"):
        read_result(folder, "layers/findings.json")
    assert read_result(folder, "rank/findings.json") is None


def test_answers_of_version_0_1_are_found_again(tmp_path: Path) -> None:
    model, identity = {"model": "1", "dtype": "float32"}, {"variant": {"kinds": None}, "calibration": {"benign": "2"}}
    decoding = Decoding(max_new_tokens=3)
    made_by = {**model, **decoding.model_dump(), "treatment": identity}
    name = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:16]
    (tmp_path / name).mkdir()
    (tmp_path / name / "made_by.json").write_text(json.dumps(made_by))

    def unused() -> Any:
        raise AssertionError

    store = AnswerStore(tmp_path, model, decoding, unused, unused, SilentReporter())
    assert store.missing(Condition("a plan", identity, unused), []) == frozenset()
    assert [path.name for path in tmp_path.iterdir()] == [name]
