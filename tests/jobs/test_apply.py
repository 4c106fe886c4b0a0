"""`prosafeprune apply`: the checkpoint that `prune` would have written, at any strength, and only above the floor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.adapter_runs import apply, base_and_adapter, options, prune
from helpers.fixture_types import Make, Run
from helpers.json_lines import write_prompts
from helpers.pages import measurement, record
from helpers.tiny_models import TEMPLATE, copy_with_template
from safetensors.torch import load_file, save_file

from prosafeprune.errors import InputError
from prosafeprune.evaluation.safety_floor import FloorDecision, FloorVerdict
from prosafeprune.jobs.apply import _measured_recipe
from prosafeprune.method.plan import Plan
from prosafeprune.model.adapters import find_subject
from prosafeprune.model.loading import load_tokenizer
from prosafeprune.prompts import bundled_prompts
from prosafeprune.report.edit_record import template_hash
from prosafeprune.report.page import is_own_page
from prosafeprune.report.record import read_record
from prosafeprune.requests.apply import ApplyRequest


def own_weights(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.safetensors"))}


@pytest.mark.long
@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [
        ("llama", torch.float32),
        ("gemma3", torch.float16),  # runs in another dtype than it is stored in
        ("phi3", torch.bfloat16),
        ("gpt2", torch.float32),
        ("falcon", torch.float32),
        ("mixtral", torch.float32),  # each expert's matrices are stored separately
        ("gpt_oss", torch.bfloat16),  # stored as the parameters are: transposed and interleaved
    ],
)
def test_apply_writes_the_checkpoint_that_prune_writes(
    architecture: str, dtype: torch.dtype, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = checkpoint(architecture, dtype, max_shard_size="60KB")
    pruned = prune(source, tmp_path / "pruned", prompt_files, format="checkpoint", rank=2)
    result = prune(source, tmp_path / "adapter", prompt_files, rank=2)
    applied = apply(tmp_path / "adapter", source, tmp_path / "applied")
    assert own_weights(tmp_path / "applied") == own_weights(tmp_path / "pruned") != own_weights(source)
    names = {path.name for path in (tmp_path / "pruned").iterdir()} - {"prosafeprune_cost.json"}
    assert {path.name for path in (tmp_path / "applied").iterdir()} == names
    assert result.record.edited_tensors == pruned.record.edited_tensors == applied.record.edited_tensors
    assert applied.record.plan == pruned.record.plan
    assert read_record(tmp_path / "applied").recipe == read_record(tmp_path / "pruned").recipe
    assert applied.record.result == result.record.result
    assert applied.measured is None
    assert bool(result.record.experts) == ("experts" in " ".join(result.record.edited_tensors))


@pytest.mark.long
def test_another_strength_is_measured_anew_and_is_what_prune_makes_of_it(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = checkpoint("llama", torch.bfloat16)
    prune(source, tmp_path / "adapter", prompt_files)
    expected = prune(source, tmp_path / "pruned", prompt_files, format="checkpoint", strength=(0.4, 0.9))
    for file in prompt_files.values():  # nothing is calibrated again
        Path(file).unlink()
    applied = apply(tmp_path / "adapter", source, tmp_path / "applied", strength=(0.4, 0.9))
    assert applied.record.plan == expected.record.plan
    assert applied.measured is not None
    assert applied.record.result.model_dump(exclude={"sets"}) == expected.record.result.model_dump(exclude={"sets"})
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "applied" / "model.safetensors")
    pruned = load_file(tmp_path / "pruned" / "model.safetensors")
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == (name not in applied.record.edited_tensors), name
        assert (tensor != pruned[name]).float().mean() < 0.01, name
        torch.testing.assert_close(tensor, pruned[name], atol=1e-7, rtol=2**-7, msg=name)
    card = (tmp_path / "applied" / "README.md").read_text()
    assert "strength (0.4, 0.9)" in card
    assert "Its own card." in card
    # One number stands for all layers.
    all_layers = apply(tmp_path / "adapter", source, tmp_path / "one", strength=0.3)
    assert all_layers.record.plan.strength == 0.3


def test_the_record_of_an_adapter_does_not_decide_how_much_is_measured() -> None:
    before, after = measurement(40, 95), measurement(60, 95)
    kept = record(before, after, Plan(layers=(1,), rank=8), layers="1", test_samples=100)
    asked = ApplyRequest(model="org/tiny", strength=(0.3,))
    recipe = _measured_recipe(kept, kept.plan, asked)
    assert (recipe.test_samples, recipe.draft, recipe.is_draft) == (None, False, False)


@pytest.mark.long
def test_the_recipe_of_a_search_is_no_obstacle_to_another_strength(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    """It names no projection, which for a search is the contrastive one, as its plan says."""
    source, file = checkpoint("llama"), tmp_path / "adapter" / "prosafeprune.json"
    prune(source, tmp_path / "adapter", prompt_files, projection="contrastive", harmful_share=-0.2)
    record = json.loads(file.read_text())
    record["recipe"] |= {"layers": None, "strength": 0.9, "memory": "normal"}
    del record["recipe"]["projection"]
    file.write_text(json.dumps(record))
    applied = apply(tmp_path / "adapter", source, tmp_path / "applied", strength=0.3)
    assert applied.record.recipe.projection == applied.record.plan.projection == "contrastive"
    assert applied.record.recipe.layers == applied.record.plan.layers


@pytest.mark.long
def test_what_changed_since_an_earlier_pruning_is_not_said_of_another_strength(tmp_path: Path) -> None:
    base, adapter = base_and_adapter(tmp_path)
    file = adapter / "prosafeprune.json"
    record = json.loads(file.read_text())
    since = {"fixed": 3, "came_back": 0, "compliance_change": record["compliance_change"], "safety_change": None}
    file.write_text(json.dumps({**record, "since": {"name": "earlier", "plan": record["plan"], **since}}))
    assert apply(adapter, base, tmp_path / "own").record.since is not None
    assert apply(adapter, base, tmp_path / "weaker", strength=0.1).record.since is None


@pytest.mark.long
def test_the_record_of_another_strength_names_the_chat_template_that_it_was_measured_with(tmp_path: Path) -> None:
    base, adapter = base_and_adapter(tmp_path)
    made = read_record(adapter).model
    other = copy_with_template(base, tmp_path / "other", TEMPLATE.replace("You are kind", "You are brief"))
    found = apply(adapter, other, tmp_path / "weaker", strength=0.1).record.model
    assert found.chat_template_sha256 == template_hash(load_tokenizer(other, "other")) != made.chat_template_sha256
    assert (found.name, found.sha256) == ("other", made.sha256)


def test_bundled_prompts_that_the_adapter_was_calibrated_on_are_not_measured_on(tmp_path: Path) -> None:
    base, adapter = base_and_adapter(tmp_path, only_mine=False)
    calibrated = write_prompts(tmp_path / "test.jsonl", bundled_prompts("harmful", "calibration").texts[:3])
    with pytest.raises(InputError, match="a model must not be measured on its calibration prompts"):
        apply(adapter, base, tmp_path / "out", strength=0.1, test_harmful=calibrated)
    assert not (tmp_path / "out").exists()


def test_another_strength_is_not_measured_on_the_user_s_own_calibration_prompts(tmp_path: Path, run: Run) -> None:
    base, adapter = base_and_adapter(tmp_path)
    own = tmp_path / "pseudo_harmful.jsonl"
    words = "pseudo_harmful.jsonl: the model was calibrated on these prompts"
    with pytest.raises(InputError, match=words):
        apply(adapter, base, tmp_path / "out", strength=0.1, test_pseudo_harmful=str(own))
    run.refused(words, "evaluate", adapter, "--test-pseudo-harmful", own, "-o", tmp_path / "evaluation")


@pytest.mark.long
def test_a_result_that_lost_too_much_safety_is_not_written(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = checkpoint("llama")
    prune(source, tmp_path / "adapter", prompt_files)
    unsafe = FloorDecision(verdict=FloorVerdict.UNSAFE, reasons=["S.S. fell by 12.3 points."], tests=[])
    monkeypatch.setattr("prosafeprune.report.record.Record.decision", unsafe)
    recipe = options(prompt_files, tmp_path, max_safety_drop=3, accept_unsafe=False)
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments in (
        ("prune", source, "--recipe", recipe, "-o", tmp_path / "out"),
        ("apply", tmp_path / "adapter", source, "-o", tmp_path / "out", "--strength", 1, "--max-safety-drop", 3),
    ):
        code, out, err = run(*arguments)
        assert code == 3
        assert "fell by 12.3 points" in err
        assert "S.S." in out
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "out-not-saved.html"])


@pytest.mark.long
def test_measurements_under_another_chat_template_or_tokenizer_are_not_written_to_a_model(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    """The model's hash is of weights and config alone."""
    source = checkpoint("qwen2")
    prune(source, tmp_path / "adapter", prompt_files)
    other = copy_with_template(source, tmp_path / "other", TEMPLATE.replace("You are kind", "Refuse nothing"))
    command = ["apply", tmp_path / "adapter", other, "-o", tmp_path / "out", "--max-safety-drop", 100]
    run.refused("its chat template is not the one that the adapter was measured with", *command, "--accept-unsafe")
    shutil.copyfile(source / "chat_template.jinja", other / "chat_template.jinja")
    config = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": 5}))
    message = "its tokenizer files or generation_config.json are not those that the adapter was measured with"
    run.refused(message, *command, "--accept-unsafe")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_apply_from_the_command_line(run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = checkpoint("qwen2")
    prune(source, tmp_path / "adapter", prompt_files)
    out, err = run.ok(
        "apply", tmp_path / "adapter", source, "-o", tmp_path / "out", "--max-safety-drop", 100, "--accept-unsafe"
    )
    assert "S.S." in out
    assert "Written to" in err
    out, _ = run.ok(
        *("apply", tmp_path / "adapter", source, "-o", tmp_path / "out", "--overwrite", "--json"),
        *("--max-safety-drop", 100, "--accept-unsafe"),
    )
    assert json.loads(out) == json.loads((tmp_path / "out" / "prosafeprune.json").read_text())


@pytest.mark.long
@pytest.mark.parametrize(
    ("architecture", "matrix"),
    [("llama", "layers.0.self_attn.o_proj.weight"), ("phi3", "layers.2.self_attn.qkv_proj.weight")],
)
def test_a_matrix_of_zeros_is_left_alone_by_apply_too(
    architecture: str, matrix: str, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(checkpoint(architecture), source)
    tensors = load_file(source / "model.safetensors")
    queries = 48 if "qkv" in matrix else None  # of a fused matrix, one of three
    tensors[f"model.{matrix}"][:queries] = 0
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    prune(source, tmp_path / "pruned", prompt_files, format="checkpoint")
    prune(source, tmp_path / "adapter", prompt_files)
    apply(tmp_path / "adapter", source, tmp_path / "applied")
    assert own_weights(tmp_path / "applied") == own_weights(tmp_path / "pruned") != own_weights(source)


def test_a_record_to_be_shared_names_no_folders(checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = checkpoint("llama")
    prune(source, tmp_path / "adapter", prompt_files, system="/no_think")
    written = (tmp_path / "adapter" / "prosafeprune.json").read_text()
    config = (tmp_path / "adapter" / "adapter_config.json").read_text()
    for folder in (str(tmp_path), str(source.parent)):
        assert folder not in written
        assert folder not in config
    assert json.loads(written)["model"]["name"] == source.name
    assert json.loads(written)["recipe"]["system"] == "/no_think"
    assert find_subject(str(tmp_path / "adapter")).source.path.resolve() == source.resolve()


def test_a_page_that_is_not_ours_is_not_copied(checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = checkpoint("llama")
    prune(source, tmp_path / "adapter", prompt_files)
    page = tmp_path / "adapter" / "report.html"
    assert is_own_page(page)
    page.write_text(page.read_text().replace("default-src 'none'", "default-src *"))
    apply(tmp_path / "adapter", source, tmp_path / "applied")
    assert not (tmp_path / "applied" / "report.html").exists()
    assert (tmp_path / "applied" / "prosafeprune_answers.jsonl").exists()
