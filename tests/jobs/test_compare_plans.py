"""`prosafeprune compare`: the plan of our method, given, pruned already or searched for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.evaluation_runs import answers_in, no_model, prompt_options
from helpers.fixture_types import Make, Run
from helpers.json_lines import write_prompts
from helpers.pages import search_record
from safetensors.torch import load_file, save_file

from prosafeprune.model.companions import companions_hash
from prosafeprune.model.model_hash import model_hash
from prosafeprune.prompts import PromptClass, bundled_prompts


@pytest.mark.long
def test_a_pruned_checkpoint_answers_as_it_does_by_itself(
    run: Run, checkpoint: Make, sets: list[str], prompt_files: dict[str, str], tmp_path: Path
) -> None:
    own = prompt_options(prompt_files)
    pruning = [
        "--layers",
        "0-1",
        "--rank",
        "4",
        "--strength",
        "1",
        "--max-safety-drop",
        "100",
        "--accept-unsafe",
        "--device",
        "cpu",
    ]
    for name in ("phi3", "gpt2", "mixtral"):  # a fused matrix; other names on disk; experts
        pruned, model = tmp_path / f"pruned-{name}", checkpoint(name)
        run.ok("prune", model, "-o", pruned, *own, *pruning, "--max-new-tokens", "2")
        common = [*sets, "--max-new-tokens", "6", "--device", "cpu"]
        given = ["--methods", "default,prosafeprune", "--pruned", pruned, *own]
        out = tmp_path / f"compared-{name}"
        run.ok("compare", model, "-o", out, *common, *given)
        run.ok("evaluate", pruned, "-o", tmp_path / f"alone-{name}", *common)
        found = [answers_in(out / "prosafeprune"), answers_in(tmp_path / f"alone-{name}"), answers_in(out / "default")]
        assert found[0] == found[1] != found[2]
    code, _, err = run("compare", checkpoint("llama"), "-o", tmp_path / "wrong", *common, *given)
    assert (code, "was pruned from another model" in err) == (2, True)


def test_the_prompt_before_the_pruned_model_is_a_setting(compare: Callable[..., dict[str, Any]]) -> None:
    record = compare("--methods", "prompt+prosafeprune", "-s", "prompt+prosafeprune.system=Answer.")
    (method,) = record["methods"]
    assert (method["settings"]["system"], method["settings"]["plan"]["layers"]) == ("Answer.", [1])


def test_the_prompt_and_the_pruning_act_together(
    run: Run, checkpoint: Make, sets: list[str], prompt_files: dict[str, str], tmp_path: Path
) -> None:
    """Their answers are those of the pruned checkpoint behind the same system prompt, and no one's alone."""
    pruned, model, own = tmp_path / "pruned", checkpoint("llama"), prompt_options(prompt_files)
    plan = ["--layers", "0-1", "--rank", "4", "--strength", "1"]
    short = ["--max-new-tokens", "6", "--device", "cpu"]
    allowed = ["--max-safety-drop", "100", "--accept-unsafe", "--device", "cpu"]
    run.ok("prune", model, "-o", pruned, *own, *plan, *allowed, "--max-new-tokens", "2")
    methods = ["default", "prompt", "prosafeprune", "prompt+prosafeprune"]
    said = [word for name in ("prompt", "prompt+prosafeprune") for word in ("-s", f"{name}.system=Answer briefly.")]
    run.ok(
        "compare", model, "-o", tmp_path / "compared", *sets, *short, *own, *plan, "--methods", ",".join(methods), *said
    )
    run.ok("evaluate", pruned, "-o", tmp_path / "alone", *sets, *short, "--system", "Answer briefly.")
    found = [answers_in(tmp_path / "compared" / name) for name in methods]
    assert found[3] == answers_in(tmp_path / "alone")
    assert all(found[3] != other for other in found[:3])


def test_what_a_pruned_checkpoint_was_calibrated_on_is_not_measured(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    model, pruned, few = checkpoint("llama"), tmp_path / "pruned", ["--layers", "1", "--rank", "4"]
    short = ["--max-new-tokens", "2", "--device", "cpu"]
    run.ok("prune", model, "-o", pruned, *few, "--max-safety-drop", "100", "--accept-unsafe", *short)
    measured = tmp_path / "measured.jsonl"
    write_prompts(measured, bundled_prompts(PromptClass.PSEUDO_HARMFUL, "calibration").texts[:2])
    given = ["--methods", "default,prosafeprune", "--pruned", pruned, "--test-pseudo-harmful", measured]
    own = [*prompt_options(prompt_files), "--only-mine"]  # what the comparison itself calibrates on
    run.refused("must be disjoint", "compare", model, "-o", tmp_path / "out", *given, *own, *short)


def test_a_pruned_checkpoint_that_changed_since_is_not_compared(
    run: Run, checkpoint: Make, sets: list[str], prompt_files: dict[str, str], tmp_path: Path
) -> None:
    """Only the layers of its plan would be, under the hash of all of it."""
    model, pruned, own = checkpoint("llama"), tmp_path / "pruned", prompt_options(prompt_files)
    short = ["--max-new-tokens", "2", "--device", "cpu"]
    few = ["--layers", "1", "--rank", "4", "--max-safety-drop", "100", "--accept-unsafe"]
    run.ok("prune", model, "-o", pruned, *few, *own, *short)
    tensors = load_file(pruned / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"] *= 2
    save_file(tensors, pruned / "model.safetensors", {"format": "pt"})
    given = ["--methods", "default,prosafeprune", "--pruned", pruned]
    asked = ["compare", model, "-o", tmp_path / "out", *given, *sets, *own, *short]
    run.refused(f"{pruned}: its weights (or config.json) are not those of its record", *asked)


def test_a_plan_is_searched_for_when_none_is_given(
    run: Run,
    checkpoint: Make,
    sets: list[str],
    prompt_files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = prompt_options(prompt_files)
    few = [
        "--max-new-tokens",
        "2",
        "--device",
        "cpu",
        "--methods",
        "default,prosafeprune",
        "--max-safety-drop",
        "100",
        "--accept-unsafe",
    ]
    short = ["--budget", "2", "--confirmations", "1", "--rank", "4"]
    command = ["compare", checkpoint("llama"), "-o", tmp_path / "out", *sets, *own, *few, *short, "--json"]
    out, _ = run.ok(*command)
    record = json.loads(out)
    search = json.loads((tmp_path / "out" / "search" / "search.json").read_text())
    if search["chosen"] is None:
        assert "found no plan" in record["left_out"]["prosafeprune"]
    else:
        assert record["methods"][1]["settings"]["plan"] == search["points"][search["chosen"] - 1]["plan"]
    no_model(monkeypatch)
    assert json.loads(run(*command)[1]) == record
    run.refused("found with other settings (rank)", *command, "--rank", "5")
    longer = [*command, "--budget", "3"]
    run.refused("found with other settings (budget, confirmations)", *longer, "--confirmations", "2")
    (tmp_path / "out" / "search" / "finished.json").unlink()  # of an earlier version
    assert json.loads(run(*longer)[1])["methods"] == record["methods"]


def test_a_search_that_is_not_there_is_missed_before_anything_is_measured(
    run: Run, checkpoint: Make, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_model(monkeypatch)
    missing, common = tmp_path / "missing", options[: options.index("--layers")]
    command = ["compare", checkpoint("llama"), "-o", tmp_path / "out", *common, "--methods"]
    code, _, err = run(*command, "default,prosafeprune", "--search", missing)
    assert code == 2
    assert "has no finished search" in err


def test_a_named_search_brings_its_own_rank(
    run: Run, checkpoint: Make, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, found = checkpoint("llama"), search_record()
    hashes = {"model": model_hash(base), "companions": companions_hash(base)}
    command = ["compare", base, *options[: options.index("--layers")], "--methods", "default,prosafeprune"]
    for rank in (4, 11):  # of each class, ten prompts are calibrated on
        plan = found.points[0].plan.model_copy(update={"rank": rank})
        points = [found.points[0].model_copy(update={"plan": plan})]
        made = found.model_copy(update={"made_by": hashes, "points": points, "chosen": 1})
        folder = tmp_path / f"search-{rank}"
        folder.mkdir()
        (folder / "search.json").write_text(made.model_dump_json())
    run.ok(*command, "-o", tmp_path / "out", "--search", tmp_path / "search-4")
    no_model(monkeypatch)
    run.refused("its plan has rank 11", *command, "-o", tmp_path / "out", "--search", tmp_path / "search-11")
