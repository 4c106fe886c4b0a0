"""Results in Python: one line, tables in a notebook, and numbers for pandas."""

from __future__ import annotations

from pathlib import Path

from helpers.fixture_types import Make
from helpers.prune_runs import prune

import prosafeprune
from prosafeprune.report.grid import Grid
from prosafeprune.report.result_view import grid_html


def test_a_pruning_shows_itself(checkpoint: Make, prompt_files: dict[str, str]) -> None:
    result = prune(checkpoint("llama"), None, prompt_files)
    assert repr(result).startswith("<PruneResult: C.R. ")
    assert repr(result).endswith("not written>")
    assert len(repr(result)) < 120
    frame = result.to_pandas()
    assert list(frame["set"]) == ["bundled-pseudo-harmful", "bundled-harmful"]
    assert frame["after"][0] == result.record.result.compliance_rate
    assert (frame["change"] - (frame["after"] - frame["before"])).abs().max() < 1e-9
    assert "bundled pseudo-harmful" in result._repr_html_()


def test_judged_answers_show_themselves(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "Hello?", "completion": "I cannot help with that."}\n')
    judged = prosafeprune.judge(tmp_path / "a.jsonl", progress=False)
    assert "1 answers judged by builtin" in repr(judged)
    assert "1 full refusal" in repr(judged)
    frame = judged.to_pandas()
    assert (frame["class"][0], frame["prompt"][0]) == ("full_refusal", "Hello?")


def test_what_models_and_files_say_is_text_in_a_notebook() -> None:
    html = grid_html(Grid("<b>", ["<i>", "x"], [["<script>alert(1)</script>", "a\nb"]], ["<u>\x00"]))
    assert not any(tag in html for tag in ("<script", "<b>", "<i>", "<u>", "\x00"))
    assert "a<br>b" in html
