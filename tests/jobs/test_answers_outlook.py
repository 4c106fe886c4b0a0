"""``--dry-run`` of ``evaluate`` and ``compare``: what would be asked and how long it takes, without a model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.fixture_types import Make, Run
from helpers.json_lines import write_prompts

from prosafeprune.prompts import PromptClass, bundled_prompts


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("evaluation.targets", "setup.load"):
        monkeypatch.setattr(f"prosafeprune.{module}.load_model", lambda *_, **__: pytest.fail("a model was loaded"))


def size_of(prompt_class: PromptClass) -> int:
    return len(bundled_prompts(prompt_class, "test"))


def test_a_comparison_counts_the_answers_of_all_methods(
    run: Run, checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    methods = ["--methods", "default,scan,prosafeprune", "--layers", "1", "--max-new-tokens", 9]
    out, _ = run.ok("compare", checkpoint("llama"), *methods, "--dry-run")
    total = 3 * (size_of(PromptClass.PSEUDO_HARMFUL) + size_of(PromptClass.HARMFUL))
    assert f"{total} answers of at most 9 tokens, judged by builtin" in out
    assert re.search(r"time of the answers +\u2502 at most about \d", out)
    assert "default, scan, prosafeprune" in out
    assert not list(tmp_path.glob("comparison*"))


def test_an_evaluation_lists_its_sets_and_repeats(run: Run, checkpoint: Make, tmp_path: Path) -> None:
    own = write_prompts(tmp_path / "own.jsonl", ["Kill a process", "Shoot a film"])
    sampled = ["--temperature", 1, "--repeats", 3]
    out, _ = run.ok("evaluate", checkpoint("llama"), "--test-harmful", own, *sampled, "--dry-run")
    assert "6 answers of at most 256 tokens" in out
    assert re.search(r"own harmful +\u2502 harmful +\u2502 +2 ", out)


def test_a_servers_time_is_not_estimated(run: Run) -> None:
    out, _ = run.ok("evaluate", "--endpoint", "http://localhost:1/v1", "--dry-run")
    assert "the server's" in out
    assert "time of the answers" not in out


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_a_dry_run_refuses_what_the_run_would(command: str, run: Run, checkpoint: Make) -> None:
    run.refused("prints tables", command, checkpoint("llama"), "--dry-run", "--json")
    run.refused("no such benchmark", command, checkpoint("llama"), "--dry-run", "-b", "nonesuch")


def test_a_dry_run_refuses_methods_and_settings_that_the_run_would(run: Run, checkpoint: Make, tmp_path: Path) -> None:
    model = checkpoint("llama")
    one, several = ("evaluate", model, "--dry-run", "--method"), ("compare", model, "--dry-run", "--methods")
    for command in (one, several):
        run.refused("no such method", *command, "sfd")
        run.refused("thresholt", *command, "scan", "-s", "scan.thresholt=1")
        run.refused("no such", *command, "sft", "--sft-data", tmp_path / "missing.jsonl")
    run.refused("actor is not compared", *several, "default,sft", "-s", "actor.alpha=1")
    run.refused("is not a setting of the evaluated method", *one, "scan", "-s", "actor.alpha=1")
    run.refused("needs --fitted", *one, "prosafeprune")
