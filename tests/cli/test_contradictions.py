"""Options that contradict each other, or would be without effect, are one line: none is ignored in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.fixture_types import Make, Run

from prosafeprune.errors import InputError
from prosafeprune.judges.registry import make_judge
from prosafeprune.progress import SILENT
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.parsing import validate_settings
from prosafeprune.requests.prompt_tools import RateRequest
from prosafeprune.requests.recipe import make_recipe, make_request


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": "0.5"}, "--strength: is for given layers"),
        ({"layers": "1", "budget": "4"}, "--budget: is for a search"),
        ({"layers": "1", "strategy": "paper"}, "--strategy: is for a search"),
        ({"layers": "1", "confirmations": "2"}, "--confirmations: is for a search"),
        ({"layers": "2,0", "strength": "0.9,0.1"}, "in ascending order"),
        ({"layers": [2, 0], "strength": [0.9, 0.1]}, "in ascending order"),
        ({"layers": "0,0,2", "strength": "0.9,0.1"}, "name each layer once"),
    ],
)
def test_a_setting_without_effect_is_one_line(settings: dict[str, Any], message: str) -> None:
    for make in (make_recipe, lambda **given: make_request(CompareRequest, None, given)):
        with pytest.raises(InputError, match=message):
            make(model="m", **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"judge": "wildguard"},
        {"max_safety_drop": 1},
        {"floor": "estimate"},
        {"test_samples": 200},
        {"prompting_samples": 50},
        {"max_new_tokens": 128},
    ],
)
def test_what_is_not_measured_takes_no_settings_of_measuring(settings: dict[str, Any], tmp_path: Path) -> None:
    low: dict[str, Any] = {"model": "m", "layers": "1", "memory": "low", "unmeasured": True}
    option = next(iter(settings)).replace("_", "-")
    with pytest.raises(InputError, match=f"--{option}: is for a model that is measured"):
        make_recipe(**low, **settings)
    file = tmp_path / "recipe.yaml"  # it may be of a run that measures
    file.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
    assert make_recipe(file, **low).unmeasured


def test_a_dry_run_says_that_nothing_is_measured(checkpoint: Make, run: Run, tmp_path: Path) -> None:
    low = ("prune", checkpoint("llama"), "-o", tmp_path / "out", "--layers", 1, "--memory", "low", "--dry-run")
    code, out, _ = run(*low, "--unmeasured")
    assert code == 0
    assert "nothing is measured (--unmeasured)" in out
    assert "may fall by" not in out
    assert "bundled test" not in out
    code, out, _ = run(*low, "--serve-with", "vllm")
    assert code == 0
    assert "may fall by" in out
    assert "benign KL" not in out


def test_a_recipe_files_strength_needs_layers_too(tmp_path: Path) -> None:
    """A search by the paper's strategy took it, and was found in the cache for every other strength."""
    file = tmp_path / "recipe.yaml"
    file.write_text("strategy: paper\nstrength: 0.3\n")
    with pytest.raises(InputError, match="--strength: is for given layers"):
        make_recipe(file, model="m")
    file.write_text("layers: null\nstrength: 0.9\n")  # of a record of a search: the default
    assert make_recipe(file, model="m").layers is None


OWN = {"test_harmful": "mine.txt"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"concurrency": 4}, "concurrency is for an endpoint"),
        ({"request": ["top_k=1"]}, "request fields are sent to an endpoint"),
        ({"endpoint": "http://localhost:1", "device": "cpu"}, "device is for a model that is loaded here"),
        ({"endpoint": "http://localhost:1", "dtype": "float16"}, "dtype is for a model that is loaded here"),
        ({"endpoint": "http://localhost:1", "batch_size": 3}, "batch_size is for a model that is loaded here"),
        ({"endpoint": "http://localhost:1", "revision": "main"}, "revision is for a model that is loaded here"),
        ({"ability_samples": 3}, "ability_samples is for tasks of general ability"),
        ({"ability_tokens": 3}, "ability_tokens is for tasks of general ability"),
        ({"data_dir": "here"}, "--data-dir: is for files of benchmarks"),
        ({"prompt_field": "text"}, "--prompt-field: is for your own prompt files"),
        ({"system": " \u200b"}, "system: is empty"),
    ],
)
def test_an_evaluation_refuses_what_has_no_effect(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate_settings(EvaluateRequest, {"model": "m", **settings})


def test_an_evaluation_takes_what_has_an_effect_and_what_is_as_by_default() -> None:
    settings: dict[str, Any]
    for settings in (
        {"endpoint": "http://localhost:1", "concurrency": 4, "system": "Be kind."},
        {"ability": "mmlu", "ability_samples": 3, "data_dir": "here"},
        {"benchmark": ["xstest"], "data_dir": "here"},
        {"prompt_field": "text", **OWN},
        {"concurrency": 8, "ability_tokens": 512, "prompt_field": "prompt"},
    ):
        assert validate_settings(EvaluateRequest, {"model": "m", **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "m", "concurrency": 4}, "concurrency is for an endpoint"),
        ({"endpoint": "http://localhost:1", "device": "cpu"}, "device is for a model that is loaded here"),
        ({"endpoint": "http://localhost:1", "system": "Be kind."}, "system is for the probe of a model"),
    ],
)
def test_a_rating_refuses_what_has_no_effect(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate_settings(RateRequest, settings)


def test_a_recipe_may_name_files_that_a_command_does_not_read(tmp_path: Any) -> None:
    (tmp_path / "recipe.yaml").write_text("model: m\ndata_dir: here\nprompt_field: text\n")
    assert make_recipe(tmp_path / "recipe.yaml").prompt_field == "text"
    for given, message in (({"data_dir": "here"}, "--data-dir"), ({"prompt_field": "text"}, "--prompt-field")):
        with pytest.raises(InputError, match=f"{message}: is for"):
            make_recipe(model="m", **given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-s", "scan.threshold=0.7"], "--settings: scan is not compared"),
        (["-s", "skan.threshold=0.7"], "skan: no such method. Did you mean scan?"),
        (["--sft-data", "pairs.jsonl"], "--sft-data: sft is not compared"),
    ],
)
def test_a_setting_of_a_method_that_is_not_compared_is_refused(
    options: list[str], message: str, checkpoint: Make, run: Run, tmp_path: Any
) -> None:
    few = ["-o", tmp_path / "out", "--methods", "default,prompt"]
    run.refused(message, "compare", checkpoint("llama"), *few, *options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"judge_concurrency": 4}, "--judge-concurrency: is for a judge behind --judge-endpoint"),
        ({"judge": "wildguard", "judge_concurrency": 4}, "--judge-concurrency: is for a judge behind"),
        ({"judge_device": "cpu"}, "--judge-device: is for a judge model that runs here, which builtin is not"),
        ({"judge": "llm", "judge_endpoint": "http://localhost:1", "judge_device": "cpu"}, "which llm is not"),
    ],
)
def test_an_option_of_a_judge_that_is_not_asked_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_judge(validate_settings(JudgeOptions, settings), SILENT)


def test_only_mine_needs_prompts_of_ones_own(checkpoint: Make, run: Run) -> None:
    run.refused("--only-mine: there are no prompts of your own", "prune", checkpoint("llama"), "--only-mine")


def test_strengths_belong_to_the_layers_as_they_were_named() -> None:
    assert make_recipe(model="m", layers="0,2", strength="0.9,0.1").strength == (0.9, 0.1)
    assert make_recipe(model="m", layers="2,0", strength="0.9").layers == (0, 2)


def test_a_recipe_may_hold_settings_of_a_search_next_to_layers(tmp_path: Any) -> None:
    (tmp_path / "recipe.yaml").write_text("model: m\nbudget: 4\nstrength: 0.5\n")
    assert make_recipe(tmp_path / "recipe.yaml", layers="1").budget == "4"
    assert make_recipe(tmp_path / "recipe.yaml").layers is None


def test_a_comparison_has_one_plan() -> None:
    for settings in ({"layers": "1", "search": "s"}, {"layers": "1", "pruned": "p"}, {"search": "s", "pruned": "p"}):
        with pytest.raises(InputError, match="each name the plan"):
            make_request(CompareRequest, None, {"model": "m", **settings})


@pytest.mark.parametrize("source", ["search", "pruned"])
@pytest.mark.parametrize(
    ("option", "value"),
    [("budget", "30"), ("strategy", "paper"), ("confirmations", 2), ("max_safety_drop", 5.0), ("rank", 8)]
    + [("pooling", "last"), ("projection", "contrastive")],
)
def test_a_comparison_refuses_settings_of_a_plan_next_to_a_finished_one(option: str, value: Any, source: str) -> None:
    message = f"--{option.replace('_', '-')}: is for a plan that is made now, and --{source} names a finished one"
    with pytest.raises(InputError, match=message):
        make_request(CompareRequest, None, {"model": "m", source: "folder", option: value})


@pytest.mark.parametrize(("option", "default"), [("budget", "10"), ("projection", "orthogonal"), ("rank", "16")])
def test_a_comparison_refuses_them_at_their_defaults_too(option: str, default: str, run: Run) -> None:
    """The plan of a search may be another: its projection is contrastive by default."""
    message = f"--{option}: is for a plan that is made now, and --search names a finished one"
    run.refused(message, "compare", "org/tiny", "--search", "s", f"--{option}", default)
    assert make_request(CompareRequest, None, {"model": "m", "search": "s", option: default})  # of an earlier record


def test_a_recipe_may_hold_settings_of_a_plan_next_to_a_finished_one(tmp_path: Any) -> None:
    (tmp_path / "recipe.yaml").write_text("model: m\nbudget: 4\nrank: 8\n")
    assert make_request(CompareRequest, tmp_path / "recipe.yaml", {"search": "s"}).budget == "4"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "1", "--search", "s"], "--search: --layers names the plan"),
        (["--layers", "1", "--serve-with", "vllm"], "--serve-with: is for --memory low"),
        (["--layers", "1", "--memory", "low"], "--unmeasured"),
        (["--layers", "1", "--memory", "low", "--unmeasured", "--serve-with", "vllm"], "Leave one of them out"),
        (["--layers", "1", "--memory", "low", "--unmeasured", "--ray", "auto"], "need the complete model in memory"),
        (["--layers", "1", "--json"], "--dry-run: prints tables"),
        (["--layers", "1", "--push", "a/b"], "--dry-run: uploads nothing"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(options: list[str], message: str, checkpoint: Make, run: Run) -> None:
    run.refused(message, "prune", checkpoint("llama"), "--dry-run", *options)


@pytest.mark.parametrize("name", ["accept_unsafe", "unmeasured"])
def test_a_recipe_file_alone_cannot_take_away_the_safety_floor(name: str, tmp_path: Any) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"model: m\nlayers: 1\nmemory: {'low' if name == 'unmeasured' else 'normal'}\n{name}: true\n")
    with pytest.raises(InputError, match=f"{name}: is not taken from a recipe file"):
        make_recipe(file)
    assert getattr(make_recipe(file, **{name: True}), name)
