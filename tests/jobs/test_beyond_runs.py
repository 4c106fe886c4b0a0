"""The suite beyond one English turn, measured on tiny models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.estimates import prepared_run
from helpers.fixture_types import Make, Run
from helpers.json_lines import read_rows, write_prompts
from helpers.pages import Reader
from helpers.prune_runs import prune

from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import BEYOND, OFF_POLICY
from prosafeprune.jobs.search import search_identity
from prosafeprune.plan_search.scoring import PlanScorer
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, PromptSet, bundled_beyond, validation_prompts
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.setup.prompt_sets import read_prompts_of

HARMFUL = PromptClass.HARMFUL


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


def validated() -> set[str]:
    """Validation prompts beyond one English turn."""
    return {text for group, kind, _ in BEYOND.values() for text in bundled_beyond(group, kind, "validation").texts}


def test_a_search_validates_on_prompts_beyond_one_english_turn_where_it_calibrates_on_them(checkpoint: Make) -> None:
    plain, beyond = (prepared_run(checkpoint("llama"), calibration=source) for source in ("bundled", "beyond"))
    for prepared, validates in ((plain, False), (beyond, True)):
        for part in (prepared.validation, prepared.confirmation):
            assert bool(validated() & set(part[HARMFUL].texts)) is validates
        assert not set(prepared.validation[HARMFUL].texts) & set(prepared.confirmation[HARMFUL].texts)
    one, two = (search_identity(prepared, "judge") for prepared in (plain, beyond))
    for part in ("validation", "confirmation"):
        assert one[part]["benign"] == two[part]["benign"]
        assert one[part]["harmful"] != two[part]["harmful"]
    for source, validates in (("bundled", False), ("beyond", True)):  # what other methods are tuned on
        found = read_prompts_of(CompareRequest(model="org/name", calibration=source), SilentReporter())
        assert bool(validated() & set(found.validation[HARMFUL].texts)) is validates


def test_a_validation_prompt_that_is_also_calibrated_on_is_found(checkpoint: Make, tmp_path: Path) -> None:
    leaked = write_prompts(
        tmp_path / "mine.jsonl",
        [
            prepared_run(checkpoint("llama"), calibration="beyond")
            .confirmation[PromptClass.PSEUDO_HARMFUL]
            .prompts[-1]
            .text
        ],
    )
    given = {"pseudo_harmful": leaked, "samples": 40}
    prepared_run(checkpoint("llama"), **given)
    with pytest.raises(InputError, match="bundled beyond validation line"):
        prepared_run(checkpoint("llama"), **given, calibration="beyond")


@pytest.mark.usefixtures("few_prompts")
def test_a_search_scores_and_confirms_plans_on_conversations_and_policies(
    checkpoint: Make, search_options: list[object], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last(seed: int, *, beyond: bool) -> dict[PromptClass, PromptSet]:
        drawn = validation_prompts(seed, beyond=beyond)
        return {name: replace(found, prompts=found.prompts[-8:]) for name, found in drawn.items()}

    monkeypatch.setattr("prosafeprune.setup.run_prompts.validation_prompts", last)
    asked: list[set[str]] = []
    answer = PlanScorer._answers

    def watch(self: PlanScorer, sets: Any, *rest: Any) -> Any:
        asked.append({text for one in sets for text in one.prompts.texts})
        return answer(self, sets, *rest)

    monkeypatch.setattr(PlanScorer, "_answers", watch)
    given = ["-o", tmp_path / "search", *search_options, "--calibration", "beyond"]
    run.ok("search", checkpoint("llama"), *given)
    assert all(texts & validated() for texts in asked)
    assert len({frozenset(texts) for texts in asked}) == 2  # scoring and confirmation prompts
