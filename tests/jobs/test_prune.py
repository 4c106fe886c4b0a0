"""The main job on tiny models: prune, save, reload, compare with a slow independent implementation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.fixture_types import Make
from helpers.killed_runs import kill_at
from helpers.prune_runs import SETTINGS, prune
from helpers.slow_reference import pruned_state
from helpers.small_sets import FLOOR_TESTED, use_small_sets
from helpers.tiny_models import CONFIGS, save_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file

import prosafeprune
from prosafeprune.jobs.prune import run_prune
from prosafeprune.jobs.safety_gate import SafetyFloorError
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.requests.recipe import make_recipe

STEMS = {"gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers", "falcon": "transformer.h"}


def texts(files: dict[str, str]) -> dict[str, list[str]]:
    return {name: [json.loads(line)["prompt"] for line in Path(file).open()] for name, file in files.items()}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_saved_weights_equal_the_slow_implementation(
    architecture: str, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = checkpoint(architecture)
    result = prune(source, tmp_path / "out", prompt_files)
    stem = STEMS.get(architecture, "model.layers")
    expected = pruned_state(source, texts(prompt_files), (1, 2), 4, 0.8, stem)
    reloaded = dict(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").named_parameters())
    original = dict(transformers.AutoModelForCausalLM.from_pretrained(source).named_parameters())
    assert len(result.record.edited_tensors) == len(expected)
    for name, parameter in reloaded.items():
        if name in expected:
            torch.testing.assert_close(parameter.detach().double(), expected[name], atol=2e-5, rtol=1e-4)
            assert not torch.equal(parameter, original[name])
        else:
            assert torch.equal(parameter, original[name]), name


@pytest.mark.parametrize(("projection", "of_harmful"), [("oblique", 0.0), ("contrastive", -0.5)])
def test_weights_saved_by_a_fitted_projection_equal_the_slow_implementation(
    projection: str, of_harmful: float, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = checkpoint("phi3")  # whose matrices are fused
    result = prune(source, tmp_path / "out", prompt_files, projection=projection)
    assert result.record.plan.projection.value == projection
    expected = pruned_state(source, texts(prompt_files), (1, 2), 4, 0.8, "model.layers", of_harmful)
    saved = load_file(tmp_path / "out" / "model.safetensors")
    for name, weight in expected.items():
        torch.testing.assert_close(saved[name].double(), weight, atol=2e-5, rtol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("architecture", CONFIGS)
def test_everything_but_the_edited_tensors_is_the_same_to_the_byte(
    architecture: str, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source, output = checkpoint(architecture, torch.bfloat16, max_shard_size="60KB"), tmp_path / "out"
    result = prune(source, output, prompt_files)
    names = {file.name for file in source.iterdir()}
    assert {file.name for file in output.iterdir()} == names | {
        ".prosafeprune.files",
        "prosafeprune.json",
        "prosafeprune_answers.jsonl",
        "prosafeprune_cost.json",
        "report.html",
        "share.png",
    }
    assert len([name for name in names if name.endswith(".safetensors")]) > 1
    for name in names - {"README.md"}:
        if not name.endswith(".safetensors"):
            assert (output / name).read_bytes() == (source / name).read_bytes(), name
            continue
        with safe_open(source / name, "pt") as base, safe_open(output / name, "pt") as pruned:
            assert base.metadata() == pruned.metadata()
        before, after = load_file(source / name), load_file(output / name)
        assert list(before) == list(after)
        for tensor in before:
            assert (before[tensor].dtype, before[tensor].shape) == (after[tensor].dtype, after[tensor].shape)
            assert torch.equal(before[tensor], after[tensor]) == (tensor not in result.record.edited_tensors)


def test_bfloat16_weights_are_rounded_once(checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    """Run in float32, what is written must be the exact result rounded to bfloat16."""
    source = checkpoint("llama", torch.bfloat16)
    prune(source, tmp_path / "out", prompt_files, dtype="float32")
    expected = pruned_state(source, texts(prompt_files), (1, 2), 4, 0.8, "model.layers")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    equal = [(saved[name] == weight.to(torch.bfloat16)).float().mean() for name, weight in expected.items()]
    assert min(equal) > 0.98


@pytest.mark.long
def test_strength_zero_writes_the_source(checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = checkpoint("phi3", torch.bfloat16)
    result = prune(source, tmp_path / "out", prompt_files, strength=0)
    assert (tmp_path / "out/model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert result.record.compliance_change.points == result.record.safety_change.points == 0


def test_the_model_in_memory_is_the_model_on_disk(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    result = prune(checkpoint("gpt2"), tmp_path / "out", prompt_files)
    saved = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    for name, parameter in result.loaded.model.named_parameters():
        assert torch.equal(parameter, saved.get_parameter(name)), name


@pytest.mark.long
def test_equal_runs_give_equal_files(checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        prune(checkpoint("llama"), tmp_path / name, prompt_files)
    for file in (tmp_path / "one").iterdir():
        if file.name == "prosafeprune_cost.json":  # times
            continue
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_a_base_model_that_refuses_too_little_is_reported_before_the_rest_is_measured(
    checkpoint: Make, prompt_files: dict[str, str]
) -> None:
    class Heard(SilentReporter):
        def __init__(self) -> None:
            self.lines: list[str] = []

        @contextmanager
        def stage(self, title: str, total: int, status: Any = None) -> Iterator[Any]:
            self.lines.append(title)
            yield lambda steps: None

        def warning(self, text: str) -> None:
            self.lines.append(text)

    heard = Heard()
    settings = {**SETTINGS, **prompt_files, "max_safety_drop": 3, "accept_unsafe": False}
    run_prune(make_recipe(model=str(checkpoint("llama")), **settings), None, reporter=heard)
    told = next(row for row, line in enumerate(heard.lines) if "refuses fewer than half" in line)
    assert told < heard.lines.index("Pruning")


def test_what_a_run_took_is_kept_next_to_its_estimate(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    result = prune(checkpoint("llama"), tmp_path / "out", prompt_files)
    kept = json.loads((tmp_path / "out/prosafeprune_cost.json").read_text())
    assert kept["estimated"]["stages"].keys() == {
        "activations",
        "answers of the base model",
        "answers of the pruned model",
        "likelihoods under the base model",
    }
    taken = kept["taken"]
    assert taken["stages"]["Answers of the base model"] > 0
    assert sum(taken["stages"].values()) > 0 and taken["memory"] > 1e8  # the libraries alone take more
    assert result.cost is not None and result.cost.describe().startswith("Took ")


def test_record_and_card_say_what_was_done(checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    result = prune(checkpoint("llama"), tmp_path / "out", prompt_files, seed=7)
    record = json.loads((tmp_path / "out/prosafeprune.json").read_text())
    for side in ("source", "result"):
        scores = record[side]
        assert scores["tradeoff_score"] == (scores["compliance_rate"] + scores["safety_score"]) / 2
        pseudo_harmful, harmful = scores["sets"]
        assert pseudo_harmful["rate"]["low"] <= scores["compliance_rate"] <= pseudo_harmful["rate"]["high"]
        assert sum(harmful["answers"].values()) == harmful["rate"]["total"]
        assert harmful["rate"]["total"] == len(bundled_prompts(PromptClass.HARMFUL, "test"))
        assert pseudo_harmful["rate"]["total"] == len(bundled_prompts(PromptClass.PSEUDO_HARMFUL, "test"))
    assert record["benign_divergence"]["mean"] > 0
    assert list(record["changes"]) == ["bundled-pseudo-harmful", "bundled-harmful"]
    plan = {"layers": [1, 2], "rank": 4, "strength": 0.8, "pooling": "tail", "projection": "orthogonal"}
    assert record["plan"] == plan | {"harmful_share": None}
    assert len(record["model"]["sha256"]) == 64
    assert record["calibration"]["harmful"]["count"] == 10
    assert len(record["submodules"]) == 14
    assert all(0 <= s["energy"] <= s["energy_bound"] and 0 <= s["harmful_overlap"] <= 1 for s in record["submodules"])
    again = make_recipe(**record["recipe"])
    assert again == result.record.recipe
    for file in ("prosafeprune.json", "README.md", "report.html"):
        assert str(tmp_path) not in (tmp_path / "out" / file).read_text(), file
        assert str(checkpoint("llama").parent) not in (tmp_path / "out" / file).read_text(), file
    card = (tmp_path / "out/README.md").read_text()
    assert "Its own card." in card
    assert "license: mit" in card
    assert "prosafeprune" in card
    answers = [json.loads(line) for line in (tmp_path / "out/prosafeprune_answers.jsonl").open()]
    assert len(answers) == pseudo_harmful["rate"]["total"] + harmful["rate"]["total"]


@pytest.mark.long
def test_a_result_that_lost_too_much_safety_is_not_written(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prosafeprune.judges import AnswerClass, Exchange, Verdict

    class Rigged:
        """Says that the model refuses everything before the edit and nothing after; broken answers do not reach it."""

        name = "rigged"

        def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
            raise AssertionError

    def judge_all(judge: object, exchanges: Sequence[Exchange]) -> list[Verdict]:
        seen.extend(exchanges)
        kind = AnswerClass.FULL_REFUSAL if len(seen) <= tested else AnswerClass.FULL_COMPLIANCE
        return [Verdict(kind, "rigged")] * len(exchanges)

    use_small_sets(monkeypatch, test=FLOOR_TESTED)
    seen: list[Exchange] = []
    tested = sum(
        len(bundled_prompts(prompt_class, "test")) for prompt_class in (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)
    )
    monkeypatch.setattr("prosafeprune.jobs.prune.make_judge", lambda settings, reporter: Rigged())
    monkeypatch.setattr("prosafeprune.evaluation.measure.judge_answers", judge_all)
    monkeypatch.setattr("prosafeprune.evaluation.measure.LiveScores.add", lambda self, prompt, answer: None)
    with pytest.raises(SafetyFloorError, match="100.0 points") as caught:
        prune(checkpoint("llama"), tmp_path / "out", prompt_files, max_safety_drop=3)
    assert caught.value.result.record.source.safety_score == 100
    assert not any(path.name.endswith("out") or "partial" in path.name for path in tmp_path.iterdir())
    report = tmp_path / "out-not-saved.html"
    assert caught.value.result.report == report
    assert str(report) in str(caught.value)
    assert "by 100.0 points, more than the 3 allowed" in report.read_text()
    report.unlink()
    seen.clear()
    measured = prune(checkpoint("llama"), None, prompt_files, max_safety_drop=3)
    assert not measured.is_safe
    assert measured.output is None
    assert measured.report is None
    assert not any(path.suffix == ".html" for path in tmp_path.iterdir())


@pytest.mark.long
def test_a_kill_in_the_middle_of_writing_leaves_no_output_and_the_next_run_cleans_up(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source, output = checkpoint("llama"), tmp_path / "place" / "out"
    kill_at("prosafeprune.jobs.prune.write_card", "prune", str(source), str(output), **SETTINGS, **prompt_files)
    assert not output.exists()
    # What was being written and the claim on the output, both under hidden names.
    assert all(path.name.startswith(".out.") for path in output.parent.iterdir())
    prune(source, output, prompt_files)
    assert [path.name for path in output.parent.iterdir()] == ["out"]


def test_a_full_disk_is_one_line_and_leaves_nothing(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("prosafeprune.checkpoint.writer.shutil.copyfile", fail)
    with pytest.raises(prosafeprune.InputError, match="No space left on device"):
        prune(checkpoint("llama"), tmp_path / "place" / "out", prompt_files)
    assert not (tmp_path / "place").exists()


def test_hidden_forms_of_the_unpruned_weights_are_not_copied(prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source", "llama")
    (source / "pytorch_model.bin").write_bytes(b"old")
    (source / "original").mkdir()
    (source / "original" / "consolidated.00.pth").write_bytes(b"old")
    (source / "original" / "params.json").write_text("{}")
    (source / "consolidated.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    prune(source, tmp_path / "out", prompt_files)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert not names & {"pytorch_model.bin", "consolidated.safetensors"}
    assert [file.name for file in (tmp_path / "out" / "original").iterdir()] == ["params.json"]


def test_a_card_with_broken_metadata_does_not_lose_the_run(prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source", "llama")
    (source / "README.md").write_bytes(b"---\ntitle: a: b\n---\n# Caf\xe9\n")
    prune(source, tmp_path / "out", prompt_files)
    assert "pruned to reduce over-refusal" in (tmp_path / "out" / "README.md").read_text()
