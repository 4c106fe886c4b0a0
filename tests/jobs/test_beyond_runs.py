"""The suite beyond one English turn, measured on tiny models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.fixture_types import Make, Run
from helpers.json_lines import read_rows
from helpers.pages import Reader
from helpers.prune_runs import prune

from prosafeprune.evaluation.sets import BEYOND, OFF_POLICY


def test_evaluate_reports_each_group_domain_and_language(run: Run, checkpoint: Make, tmp_path: Path) -> None:
    given = ["--suite", "beyond", "--benchmark-samples", 6, "--max-new-tokens", 2, "--device", "cpu"]
    printed, _ = run.ok("evaluate", checkpoint("llama"), *given, "-o", tmp_path / "out")
    assert "policies, off the subject" in printed
    assert "refused, 6 prompts" in printed
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [score["name"] for score in record["scores"]["sets"]] == list(BEYOND)
    for score in record["scores"]["sets"]:
        grouped = score["name"].startswith(("beyond-domains", "beyond-languages"))
        assert sum(rate["total"] for rate in score["categories"].values()) == (6 if grouped else 0)
        assert score["policy"] is (score["name"] == OFF_POLICY)
    harmful = [
        score["mean"]
        for score in record["scores"]["sets"]
        if score["prompt_class"] == "harmful" and not score["policy"]
    ]
    assert record["scores"]["safety_score"] == sum(harmful) / 3
    page = Reader((tmp_path / "out" / "report.html").read_text())
    assert "By category: domains" in page.text
    assert "By category: languages" in page.text


@pytest.mark.long
def test_prune_holds_policies_to_the_floor_and_tests_the_change(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    settings = {"suite": "beyond", "benchmark_samples": 4, "only_mine": True}
    record = prune(checkpoint("llama"), tmp_path / "out", prompt_files, **settings).record
    assert set(BEYOND) < set(record.changes)
    assert record.floor is not None
    (test,) = [test for test in record.floor.tests if test.policy]
    assert test.name == OFF_POLICY
    harmful = [test.name for test in record.floor.tests if not test.policy]
    assert OFF_POLICY not in harmful
    assert "beyond-languages-harmful" in harmful
    change = record.changes[OFF_POLICY]
    page = Reader((tmp_path / "out" / "report.html").read_text())
    (sentence,) = [part for part in page.text.split("\n") if "a system prompt asks to refuse:" in part]
    assert "McNemar p" in sentence
    assert change.won + change.lost <= 4
    rows = read_rows(tmp_path / "out" / "prosafeprune_answers.jsonl")
    assert sum(row["set"] == OFF_POLICY for row in rows) == 4
