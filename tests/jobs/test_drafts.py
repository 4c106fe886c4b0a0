"""Drafts: measured on a few prompts, marked wherever they are shown, and never saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.evaluation_runs import prompt_options
from helpers.fixture_types import Make, Run
from helpers.prune_runs import prune

import prosafeprune.cli.prune as prune_command
import prosafeprune.cli.search as search_command
from prosafeprune.errors import InputError
from prosafeprune.jobs.safety_gate import SafetyFloorError, measured_output, require_safe
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.recipe import make_recipe


def test_a_draft_is_short_unless_the_user_says_otherwise() -> None:
    draft = make_recipe(model="org/name", draft=True)
    assert (draft.test_samples, draft.samples, draft.budget, draft.confirmations) == (24, 64, "3", 3)
    longer = make_recipe(model="org/name", draft=True, test_samples=50, budget=20)
    assert (longer.test_samples, longer.samples, longer.budget) == (50, 64, "20")
    assert make_recipe(model="org/name", test_samples=99).is_draft
    assert not make_recipe(model="org/name", test_samples=100).is_draft
    assert make_recipe(model="org/name", test_samples=100, draft=True).is_draft
    assert not make_recipe(model="org/name").is_draft
    assert EvaluateRequest(model="org/name", draft=True).benchmark_samples == 24
    compared = CompareRequest(model="org/name", draft=True)
    assert (compared.benchmark_samples, compared.samples) == (24, 64)


def test_a_draft_is_marked_and_its_follow_up_is_the_real_thing(
    run: Run, checkpoint: Make, prompt_files: dict[str, str]
) -> None:
    files = prompt_options(prompt_files)
    options = ["--layers", 1, "--rank", 4, "--max-new-tokens", 2, *files, "--test-samples", 5]
    out, err = run.ok("prune", checkpoint("llama"), *options, "--draft")
    assert "DRAFT, measured on a few prompts only" in " ".join(out.split())
    assert "DRAFT" in err
    last = err.rstrip().splitlines()[-1]
    assert last.endswith("-o pruned")
    assert "--draft" not in last
    assert "--test-samples" not in last
    assert "saved" not in last  # this model refuses nothing
    assert "These few do not keep the safety floor: " in last
    assert "5 prompts" in " ".join(out.split())


def test_the_follow_up_of_a_draft_by_a_recipe_says_what_to_take_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["prosafeprune", "prune", "MODEL", "--recipe", "draft.yaml"])
    wanted = "prosafeprune prune MODEL --recipe draft.yaml -o pruned (without draft and test_samples in the recipe)"
    assert prune_command._follow_up(is_draft=True) == wanted


def test_a_measurement_on_fewer_prompts_is_repeated_on_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["prosafeprune", "prune", "org/name", "--test-samples", "150"])
    assert prune_command._follow_up() == "prosafeprune prune org/name --test-samples 150 -o pruned"
    assert prune_command._follow_up(is_draft=True) == "prosafeprune prune org/name -o pruned"


def test_a_draft_is_never_saved_even_where_everything_is_accepted(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="too few prompts to save a model"):
        prune(checkpoint("llama"), tmp_path / "out", prompt_files, draft=True)
    draft = prune(checkpoint("llama"), None, prompt_files, test_samples=6)
    assert draft.record.source.sets[0].rate.total == 6
    assert not draft.is_safe
    with pytest.raises(SafetyFloorError, match="draft"):
        require_safe(draft)
    with (
        pytest.raises(SafetyFloorError, match="draft"),
        measured_output(tmp_path / "out", draft.record, overwrite=False),
    ):
        pass
    assert not list(tmp_path.glob("out*"))


@pytest.mark.usefixtures("few_prompts")
def test_a_draft_whose_search_selects_no_plan_measures_the_best_one(
    run: Run, checkpoint: Make, search_options: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("prosafeprune.jobs.search.select_point", lambda *_: None)
    monkeypatch.setenv("PROSAFEPRUNE_CACHE", str(tmp_path / "cache"))
    for _ in range(2):  # the second time the search is finished
        _, err = run.ok("prune", checkpoint("llama"), *search_options, "--draft")
        assert "No plan of this draft" in err
    code, _, err = run("prune", checkpoint("llama"), *search_options)
    assert code == 3
    assert "No plan was found" in err
    (page,) = [report.read_text() for report in tmp_path.glob("cache/searches/*/report.html")]
    assert "DRAFT" in page
    making = page.rpartition("How to make a point")[2].partition("How to reproduce this")[0]
    assert "--search THIS_FOLDER" in making
    assert "--draft" not in making


def test_a_draft_of_an_evaluation_says_so_on_its_page_and_in_its_record(
    run: Run, checkpoint: Make, tmp_path: Path
) -> None:
    options = ["--draft", "--max-new-tokens", 2, "--device", "cpu"]
    out, _ = run.ok("evaluate", checkpoint("llama"), "-o", tmp_path / "e", *options)
    assert "DRAFT" in out
    assert "DRAFT" in (tmp_path / "e" / "report.html").read_text()
    record = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert record["request"]["draft"] is True
    assert {prompt_set["count"] for prompt_set in record["prompts"].values()} == {24}


def test_the_follow_up_of_a_search_is_a_command(tmp_path: Path) -> None:
    given = ["--debug", "search", "org/name", "--budget", "3", "--json", "-o", str(tmp_path)]
    wanted = f"prosafeprune prune org/name --budget 3 -o pruned --search {tmp_path}"
    assert search_command._follow_up(given, tmp_path) == wanted
    assert search_command._follow_up(given[1:], tmp_path) == wanted
