"""`prosafeprune evaluate`: what is compared with an earlier evaluation or the base model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.evaluation_runs import no_model
from helpers.fixture_types import Make, Run
from helpers.json_lines import read_rows, write_rows
from helpers.tiny_models import TEMPLATE, copy_with_template

from prosafeprune.prompts import bundled_prompts


def test_two_evaluations_are_compared_prompt_by_prompt(
    evaluate: Callable[..., dict[str, Any]], checkpoint: Make, tmp_path: Path, run: Run, files: list[str]
) -> None:
    evaluate(out="before")
    against = evaluate("--against", tmp_path / "before", model=checkpoint("qwen2"))["against"]
    assert against["name"] == "before"
    for change in against["changes"].values():
        assert 0 <= change["p_value"] <= 1
        assert change["low"] <= change["points"] <= change["high"]
    more = ["-b", "bundled-benign", "--against", tmp_path / "before", "-o", tmp_path / "more"]
    count = len(bundled_prompts("benign", "test"))
    run.refused(f"no verdict on {count} of the {count}", "evaluate", checkpoint("llama"), *files, *more)


def test_an_earlier_evaluation_with_other_settings_is_said_to_be_one(
    evaluate: Callable[..., dict[str, Any]], checkpoint: Make, tmp_path: Path, run: Run, files: list[str]
) -> None:
    evaluate(out="before")
    options = ["--against", tmp_path / "before", "-o", tmp_path / "after"]
    _, err = run.ok("evaluate", checkpoint("llama"), *files, "--max-new-tokens", 5, "--system", "Be brief.", *options)
    words = "before were made with other settings (max new tokens 4 there, 5 here; system None there, 'Be brief.' here)"
    assert words in " ".join(err.split())
    assert "were made with other settings" in (tmp_path / "after" / "report.html").read_text()
    evaluate("--against", tmp_path / "before", out="same")
    assert "were made with other settings" not in (tmp_path / "same" / "report.html").read_text()


def test_ability_and_damage_are_reported(
    evaluate: Callable[..., dict[str, Any]], checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = ({"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(3))
    write_rows(tmp_path / "gsm8k_test_600.jsonl", sums)
    options = ["--ability", "gsm8k", "--ability-tokens", 3, "--data-dir", tmp_path, "--base", checkpoint("llama")]
    record = evaluate(*options)
    assert record["ability"]["gsm8k"]["accuracy"]["total"] == 3
    assert record["divergence"]["mean"] == pytest.approx(0, abs=1e-4)
    name, sha256 = str(checkpoint("llama")), record["made_by"]["model"]
    assert record["base"] == {"name": name, "sha256": sha256}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"divergence from the base model ({checkpoint('llama').name})" in page
    assert f"{checkpoint('llama').name}, SHA-256 {sha256}" in page
    no_model(monkeypatch)
    assert evaluate(*options) == record
    assert evaluate(*("--source" if option == "--base" else option for option in options)) == record  # the name in 0.1


def test_the_divergence_from_a_base_model_with_another_chat_template_is_not_known(
    evaluate: Callable[..., dict[str, Any]], run: Run, checkpoint: Make, files: list[str], tmp_path: Path
) -> None:
    base = copy_with_template(checkpoint("llama"), tmp_path / "base", TEMPLATE)
    assert evaluate("--base", base)["divergence"]["mean"] == pytest.approx(0, abs=1e-4)
    kept = tmp_path / "out" / "divergences.json"
    recorded = kept.read_text()
    (base / "chat_template.jinja").write_text(TEMPLATE.replace("kind", "rude"))
    asked = [checkpoint("llama"), *files, "-o", tmp_path / "out", "--max-new-tokens", 4, "--device", "cpu"]
    run.refused("tokenises prompts differently from its base model", "evaluate", *asked, "--base", base)
    older = {base: {key: one[key] for key in one if key != "companions"} for base, one in json.loads(recorded).items()}
    kept.write_text(json.dumps(older))
    run.ok("evaluate", *asked, "--base", base)  # an earlier version did not record the files


def test_ability_is_compared_with_an_earlier_evaluation_question_by_question(
    evaluate: Callable[..., dict[str, Any]], tmp_path: Path, run: Run, checkpoint: Make, files: list[str]
) -> None:
    sums = ({"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(3))
    write_rows(tmp_path / "gsm8k_test_600.jsonl", sums)
    options = ["--ability", "gsm8k", "--ability-tokens", 3, "--data-dir", tmp_path]
    evaluate(*options, out="earlier")
    file = tmp_path / "earlier" / "ability-3.jsonl"
    rows = read_rows(file)
    rows[1]["completion"] = f"\\boxed{{{1 + int(rows[1]['prompt'].split(' + 1?')[0].rpartition(' ')[2])}}}"
    write_rows(file, rows)
    against = evaluate(*options, "--against", tmp_path / "earlier")["ability_against"]
    assert against["scores"]["gsm8k"]["accuracy"]["successes"] == 1
    assert (against["changes"]["gsm8k"]["won"], against["changes"]["gsm8k"]["lost"]) == (0, 1)
    assert "gained, lost" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    # an earlier evaluation without these answers is no obstacle
    file.unlink()
    asked = [checkpoint("llama"), *files, "-o", tmp_path / "out", "--max-new-tokens", 4, "--device", "cpu", *options]
    _, err = run.ok("evaluate", *asked, "--against", tmp_path / "earlier")
    assert "has no answers of at most 3 tokens to 3 of the 3 questions" in " ".join(err.split())
