"""Adapters against the checkpoints they stand for: plain PEFT, merged, scaled, and made into checkpoints again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import CONFIGS, EXPERTS, save_checkpoint
from peft import PeftConfig, PeftModel
from safetensors.torch import load_file, save_file

import prosafeprune
from prosafeprune.calibration import calibrate
from prosafeprune.checkpoint.adapter import LoraAdapter, stacked, unstacked
from prosafeprune.checkpoint.writer import EditedTensors, locate_tensors
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Edit, Plan
from prosafeprune.method.pooling import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.model.source import ModelSource, find_source
from prosafeprune.progress import SilentReporter, ignore
from prosafeprune.prompts import PromptClass, read_prompts

Make = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
PLAN = Plan(layers=(0, 2), rank=4, strength=(0.8, 0.5), pooling=Pooling.TAIL)
SETTINGS: dict[str, Any] = {
    "format": "adapter",
    "pooling": "tail",
    "layers": "0,2",
    "rank": 4,
    "strength": (0.8, 0.5),
    "max_new_tokens": 2,
    "max_safety_drop": 100,
    "device": "cpu",
}
IDS = torch.arange(5, 45).view(2, 20)


@dataclass
class Planned:
    """A source on disk, the model in memory, and the edits of a plan."""

    folder: Path
    source: ModelSource
    loaded: LoadedModel
    edits: list[Edit]

    def adapter(self, folder: Path, edits: list[Edit] | None = None) -> Path:
        edits = edits or self.edits
        located = locate_tensors(self.folder, [edit.submodule for edit in edits])
        folder.mkdir()
        LoraAdapter(self.loaded, self.source, located, edits).write(folder, ignore)
        return folder

    def checkpoint(self, folder: Path, strength: float = 1.0) -> Path:
        edits = [replace(edit, strength=strength * edit.strength) for edit in self.edits]
        located = locate_tensors(self.folder, [edit.submodule for edit in edits])
        folder.mkdir()
        EditedTensors(self.folder, located, edits).write(folder, ignore)
        return folder


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> dict[PromptClass, Any]:
    folder = tmp_path_factory.mktemp("prompts")
    sets = {}
    for prompt_class in PromptClass:
        file = folder / f"{prompt_class.value}.txt"
        file.write_text("".join(f"Tell me of {prompt_class.value} thing {i * i} or {i}\n" for i in range(8)))
        sets[prompt_class] = read_prompts(str(file), prompt_class, "prompt")
    return sets


@pytest.fixture
def planned(checkpoint: Make, calibration: dict[PromptClass, Any]) -> Callable[..., Planned]:
    def make(architecture: str, dtype: torch.dtype = torch.float32, plan: Plan = PLAN) -> Planned:
        folder = checkpoint(architecture, dtype)
        loaded = load_model(folder, str(folder), SilentReporter(), device="cpu")
        anatomy = find_anatomy(loaded.model)
        _, edits = calibrate(loaded, anatomy, plan, calibration, 8, SilentReporter())
        return Planned(folder, find_source(str(folder)), loaded, edits)

    return make


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits  # type: ignore[no-any-return]


def load_plain(folder: Path, adapter: Path | None = None) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return PeftModel.from_pretrained(model, adapter) if adapter else model


def set_scale(model: Any, scale: float) -> None:
    for module in model.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("default", scale)


@pytest.mark.parametrize("architecture", [*CONFIGS, *EXPERTS])
def test_plain_peft_runs_what_the_edited_checkpoint_runs(
    architecture: str, planned: Callable[..., Planned], tmp_path: Path
) -> None:
    one = planned(architecture)
    adapted = load_plain(one.folder, one.adapter(tmp_path / "adapter"))
    pruned = load_plain(one.checkpoint(tmp_path / "pruned"))
    source = load_plain(one.folder)
    expected, before = logits(pruned), logits(source)
    assert (expected - before).abs().max() > 1e-2
    torch.testing.assert_close(logits(adapted), expected, atol=2e-5, rtol=1e-5)

    set_scale(adapted, 0.0)
    torch.testing.assert_close(logits(adapted), before, atol=0, rtol=0)
    set_scale(adapted, 0.5)
    half = logits(load_plain(one.checkpoint(tmp_path / "half", strength=0.5)))
    torch.testing.assert_close(logits(adapted), half, atol=2e-5, rtol=1e-5)

    set_scale(adapted, 1.0)
    merged = dict(adapted.merge_and_unload().named_parameters())
    untouched = dict(source.named_parameters())
    changed = {f"{edit.submodule.module_name}.weight" for edit in one.edits}
    for name, parameter in pruned.named_parameters():
        if name in changed:
            torch.testing.assert_close(merged[name], parameter, atol=1e-6, rtol=1e-6)
        else:
            assert torch.equal(merged[name], untouched[name]), name


@pytest.mark.parametrize("architecture", ["llama", "phi3", "gpt2"])
def test_merged_in_half_precision_it_is_the_checkpoint_to_the_last_bit_or_two(
    architecture: str, planned: Callable[..., Planned], tmp_path: Path
) -> None:
    one = planned(architecture, torch.bfloat16)
    tensors = load_file(one.adapter(tmp_path / "adapter") / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    merged = load_plain(one.folder, tmp_path / "adapter").merge_and_unload()
    pruned = load_plain(one.checkpoint(tmp_path / "pruned"))
    for (name, two), (_, own) in zip(merged.named_parameters(), pruned.named_parameters(), strict=True):
        assert two.dtype == torch.bfloat16
        # One rounding each, of sums that differ in float32's last bits.
        torch.testing.assert_close(two, own, atol=1e-7, rtol=2**-7, msg=name)
        assert (two != own).float().mean() < 0.01, name


def test_the_config_is_that_of_a_plain_lora_with_scaling_one(planned: Callable[..., Planned], tmp_path: Path) -> None:
    one = planned("phi3")
    folder = one.adapter(tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["task_type"] == "CAUSAL_LM"
    assert config["base_model_name_or_path"] == str(one.folder)
    # q, k and v are one matrix, gate and up another; the rest have the plan's rank.
    assert (config["r"], config["lora_alpha"]) == (12, 12)
    others = {
        f"model.layers.{i}.{n}": r
        for i in (0, 2)
        for n, r in (("self_attn.o_proj", 4), ("mlp.down_proj", 4), ("mlp.gate_up_proj", 8))
    }
    assert config["rank_pattern"] == config["alpha_pattern"] == others
    assert config["target_modules"] == sorted(config["target_modules"])
    tensors = load_file(folder / "adapter_model.safetensors")
    name = "base_model.model.model.layers.2.self_attn.qkv_proj"
    assert tensors[f"{name}.lora_A.weight"].shape == (12, 48)
    assert tensors[f"{name}.lora_B.weight"].shape == (96, 12)
    assert not load_plain(one.folder, folder).peft_config["default"].fan_in_fan_out
    assert isinstance(PeftConfig.from_pretrained(folder), type(load_plain(one.folder, folder).peft_config["default"]))


def test_factors_of_a_fused_matrix_come_apart_as_they_were_put_together(planned: Callable[..., Planned]) -> None:
    one = planned("gpt_neox")  # its q, k and v rows alternate
    fused = [edit for edit in one.edits if edit.submodule.rows is not None and edit.submodule.layer == 0]
    parts = [(edit.submodule, edit.change_of(edit.submodule.weight())) for edit in fused]
    whole = stacked(parts)
    for (_, change), again in zip(parts, unstacked(whole, [edit.submodule for edit in fused], 4), strict=True):
        assert torch.equal(change.a, again.a)
        assert torch.equal(change.b, again.b)
    with pytest.raises(InputError, match="do not fit a matrix"):
        unstacked(whole, [edit.submodule for edit in fused], 3)


def prune(source: Path, output: Path | None, files: dict[str, str], **settings: Any) -> prosafeprune.PruneResult:
    return prosafeprune.prune(source, output, progress=False, **{**SETTINGS, **files, **settings})


def own_weights(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.safetensors"))}


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [
        ("llama", torch.float32),
        ("gemma3", torch.float16),  # runs in another dtype than it is stored in
        ("phi3", torch.bfloat16),
        ("gpt2", torch.float32),
        ("falcon", torch.float32),
    ],
)
def test_apply_writes_the_checkpoint_that_prune_writes(
    architecture: str, dtype: torch.dtype, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = checkpoint(architecture, dtype, max_shard_size="60KB")
    pruned = prune(source, tmp_path / "pruned", prompt_files, format="checkpoint")
    result = prune(source, tmp_path / "adapter", prompt_files)
    applied = prosafeprune.apply(tmp_path / "adapter", source, tmp_path / "applied", progress=False)
    assert own_weights(tmp_path / "applied") == own_weights(tmp_path / "pruned") != own_weights(source)
    assert {p.name for p in (tmp_path / "applied").iterdir()} == {p.name for p in (tmp_path / "pruned").iterdir()}
    assert result.record.edited_tensors == pruned.record.edited_tensors == applied.record.edited_tensors
    assert applied.record.plan == pruned.record.plan
    assert applied.record.recipe == pruned.record.recipe
    assert applied.record.result == result.record.result
    assert applied.measured is None


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
        "prosafeprune.json",
        "prosafeprune_answers.jsonl",
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
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_another_strength_is_measured_anew_and_is_what_prune_makes_of_it(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = checkpoint("llama", torch.bfloat16)
    prune(source, tmp_path / "adapter", prompt_files)
    expected = prune(source, tmp_path / "pruned", prompt_files, format="checkpoint", strength=(0.4, 0.9))
    for file in prompt_files.values():  # nothing is calibrated again
        Path(file).unlink()
    applied = prosafeprune.apply(
        tmp_path / "adapter", source, tmp_path / "applied", strength=(0.4, 0.9), progress=False
    )
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
    all_layers = prosafeprune.apply(tmp_path / "adapter", source, tmp_path / "one", strength=0.3, progress=False)
    assert all_layers.record.plan.strength == 0.3


def options(files: dict[str, str], tmp_path: Path, **settings: Any) -> Path:
    """Write a recipe file."""
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps({**SETTINGS, **files, **settings}))  # JSON is YAML
    return file


def test_a_result_that_lost_too_much_safety_is_not_written(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = checkpoint("llama")
    prune(source, tmp_path / "adapter", prompt_files)
    monkeypatch.setattr("prosafeprune.report.record.Record.safety_drop", property(lambda self: 12.3))
    monkeypatch.setattr("prosafeprune.report.record.Record.floor_can_be_tested", True)
    recipe = options(prompt_files, tmp_path, max_safety_drop=3)
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments in (
        ("prune", source, "--recipe", recipe, "-o", tmp_path / "out"),
        ("apply", tmp_path / "adapter", source, "-o", tmp_path / "out", "--strength", 1, "--max-safety-drop", 3),
    ):
        code, out, err = run(*arguments)
        assert code == 3
        assert "12.3 points fewer" in err
        assert "S.S." in out
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "out-not-saved.html"])


def test_apply_from_the_command_line(run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = checkpoint("qwen2")
    prune(source, tmp_path / "adapter", prompt_files)
    code, out, err = run("apply", tmp_path / "adapter", source, "-o", tmp_path / "out")
    assert code == 0
    assert "S.S." in out
    assert "Written to" in err
    code, out, _ = run("apply", tmp_path / "adapter", source, "-o", tmp_path / "out", "--overwrite", "--json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "out" / "prosafeprune.json").read_text())


FAULTS = {
    "wrong base": "is not the model that the adapter was made from",
    "changed base": "is not the model that the adapter was made from",
    "missing base": "no such folder or file",
    "missing adapter": "no such folder",
    "a model": "is a pruned model and no adapter",
    "no record": "has no prosafeprune.json",
    "broken record": "cannot be read as a record",
    "damaged": "is missing, damaged or not what its record tells of",
    "rescaled": "is missing, damaged or not what its record tells of",
    "no weights": "is missing, damaged or not what its record tells of",
    "output exists": "exists already",
    "into the base": "source model's folder",
    "into the adapter": "adapter's folder",
    "bad strength": "strength",
    "too many strengths": "3 strengths are given for 2 layers",
    "no strength there": "strength 0 in layer 2",
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[object]]:
    """Give the arguments of `apply` in which one thing is wrong."""
    place = tmp_path_factory.mktemp("faulty")
    base = save_checkpoint(place / "base", "llama")
    files = {}
    for name in ("benign", "harmful", "pseudo_harmful"):
        files[name] = str(place / f"{name}.txt")
        Path(files[name]).write_text("".join(f"Tell me of {name} thing {i * i}\n" for i in range(8)))
    prune(base, place / "adapter", files, strength=(0.8, 0.0))
    shutil.copytree(base, place / "changed")
    config = json.loads((base / "config.json").read_text())
    (place / "changed" / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    save_checkpoint(place / "other", "qwen2")

    def make(fault: str, folder: Path) -> list[object]:
        adapter = folder / "adapter"
        shutil.copytree(place / "adapter", adapter)
        given: dict[str, Any] = {"adapter": adapter, "base": base, "output": folder / "out", "strength": None}
        weights = adapter / "adapter_model.safetensors"
        if fault == "damaged":
            weights.write_bytes(weights.read_bytes()[:-9])
        elif fault == "rescaled":
            save_file({name: tensor * 2 for name, tensor in load_file(weights).items()}, weights)
        elif fault == "no weights":
            weights.unlink()
        elif fault == "no record":
            (adapter / "prosafeprune.json").unlink()
        elif fault == "broken record":
            (adapter / "prosafeprune.json").write_text("{}")
        elif fault == "a model":
            record = json.loads((adapter / "prosafeprune.json").read_text())
            (adapter / "prosafeprune.json").write_text(json.dumps({**record, "adapter_sha256": None}))
        elif fault == "output exists":
            given["output"].mkdir()
        given |= {
            "wrong base": {"base": place / "other"},
            "changed base": {"base": place / "changed"},
            "missing base": {"base": place / "nowhere"},
            "missing adapter": {"adapter": folder / "nowhere"},
            "into the base": {"output": base / "out"},
            "into the adapter": {"output": adapter},
            "bad strength": {"strength": "much"},
            "too many strengths": {"strength": "0.1,0.2,0.3"},
            "no strength there": {"strength": "0.5"},
        }.get(fault, {})
        strength = ["--strength", given["strength"]] if given["strength"] else []
        return ["apply", given["adapter"], given["base"], "-o", given["output"], *strength]

    return make


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_applied_is_one_line_and_exit_code_2(
    fault: str, run: Run, faulty: Callable[..., list[object]], tmp_path: Path
) -> None:
    arguments = faulty(fault, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    errors = [line for line in err.splitlines() if line.startswith("Error:")]
    assert (code, out, len(errors)) == (2, "", 1), err
    assert FAULTS[fault] in errors[0]
    assert sorted(tmp_path.rglob("*")) == before
