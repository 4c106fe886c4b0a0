"""`prune` to an adapter: the evidence next to it, and the models that have none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.adapter_runs import options, prune
from helpers.fixture_types import Make, Run
from helpers.quantised_checkpoints import quantised_checkpoint

import prosafeprune


@pytest.mark.long
def test_an_adapter_comes_with_its_evidence_and_runs_through_evaluate(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = checkpoint("llama")
    result = prune(source, tmp_path / "adapter", prompt_files)
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
        "report.html",
        ".prosafeprune.files",
        "prosafeprune.json",
        "prosafeprune_answers.jsonl",
        "prosafeprune_cost.json",
        "share.png",
    }
    record = json.loads((tmp_path / "adapter" / "prosafeprune.json").read_text())
    assert record == json.loads(result.record.model_dump_json())
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "LoRA adapter" in card
    assert "library_name: peft" in card
    assert "license: mit" in card
    assert "Its own card." not in card
    measured = prosafeprune.evaluate(
        tmp_path / "adapter", tmp_path / "evaluation", progress=False, max_new_tokens=2, device="cpu"
    )
    assert measured.record.scores == result.record.result
    again = prune(source, tmp_path / "again", prompt_files)
    assert again.record == result.record
    for file in (tmp_path / "adapter").iterdir():
        if file.name == "prosafeprune_cost.json":  # times
            continue
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["mixtral", "qwen3_moe"])
def test_the_adapter_of_a_mixture_of_experts_is_measured_as_it_will_run(
    architecture: str, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    result = prune(checkpoint(architecture), tmp_path / "adapter", prompt_files, rank=2)
    assert any(count.pruned for count in result.record.experts)
    measured = prosafeprune.evaluate(
        tmp_path / "adapter", tmp_path / "evaluation", progress=False, max_new_tokens=2, device="cpu"
    )
    assert measured.record.scores == result.record.result
    card = " ".join((tmp_path / "adapter" / "README.md").read_text().split())
    assert "Load it with PEFT 0.20 or later" in card
    assert "server" not in card.partition("Load it with PEFT")[2].partition("```")[0]


def test_experts_of_a_quantised_model_are_refused_in_one_line_before_anything_is_run(
    run: Run, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source, _ = quantised_checkpoint(tmp_path, "fp8", "qwen3_moe")
    recipe = options(prompt_files, tmp_path)
    code, out, err = run("prune", source, "--recipe", recipe, "--accept-unsafe", "-o", tmp_path / "out")
    errors = [line for line in err.splitlines() if line.startswith("Error:")]
    assert (code, out, len(errors)) == (2, "", 1), err
    assert ".experts.0.gate: is one of a quantised model's experts" in errors[0]
    assert "--dequantise" in errors[0]
    assert "Activations" not in err
    assert not (tmp_path / "out").exists()
