"""Adapters of mixtures of experts against the checkpoints they stand for, in plain PEFT."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.edited_models import EditedModel, assert_plain_peft_agrees, logits
from safetensors.torch import load_file

from prosafeprune.checkpoint.expert_factors import stacked_experts, unstacked_experts
from prosafeprune.errors import InputError
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.model.adapters import attach_adapter
from prosafeprune.model.loading import load_model
from prosafeprune.progress import SilentReporter, ignore
from prosafeprune.setup.model_size import ModelShape
from prosafeprune.setup.path_costs import ADAPTER_OF_EXPERTS, FLOAT32

PLAN = Plan(layers=(0, 2), rank=2, strength=(0.8, 0.5), pooling=Pooling.TAIL)
MIXTURES = ["mixtral", "qwen2_moe", "qwen3_moe", "qwen3_next", "deepseek_v3", "gpt_oss"]
"""With dense layers (Qwen3, DeepSeek), shared experts (Qwen2, DeepSeek), transposed and interleaved ones (gpt-oss)."""


@pytest.mark.parametrize("architecture", MIXTURES)
def test_plain_peft_runs_what_the_edited_checkpoint_runs(
    architecture: str, planned: Callable[..., EditedModel], tmp_path: Path
) -> None:
    one = planned(architecture, plan=PLAN)
    edited = {edit.submodule.expert for edit in one.edits} - {None}
    assert edited, "no expert is edited"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=RuntimeWarning)
        assert_plain_peft_agrees(one, tmp_path, unscaled=1e-6)


@pytest.mark.parametrize("architecture", MIXTURES)
def test_it_runs_the_same_in_memory_and_attached_again(
    architecture: str, planned: Callable[..., EditedModel], tmp_path: Path
) -> None:
    one = planned(architecture, plan=PLAN)
    before = logits(one.loaded.model)
    adapter = one.lora()
    folder = tmp_path / "adapter"
    folder.mkdir()
    adapter.write(folder, ignore)
    adapter.apply_in_memory(ignore)
    expected = logits(one.loaded.model)
    assert (expected - before).abs().max() > 1e-2
    with adapter.undone_in_memory():
        torch.testing.assert_close(logits(one.loaded.model), before, atol=0, rtol=0)
    again = load_model(one.folder, "again", SilentReporter(), device="cpu")
    attach_adapter(again, folder, "adapter")
    torch.testing.assert_close(logits(again.model), expected, atol=0, rtol=0)


def test_experts_and_dense_layers_are_targeted_by_their_parameters(
    planned: Callable[..., EditedModel], tmp_path: Path
) -> None:
    folder = planned("qwen3_moe", plan=PLAN).adapter(tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["target_parameters"] == [
        *(f"model.layers.0.mlp.{name}_proj.weight" for name in ("down", "gate", "up")),
        *(f"model.layers.2.mlp.experts.{name}_proj" for name in ("down", "gate_up")),
    ]
    assert {name.rpartition(".")[2] for name in config["target_modules"]} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert (config["r"], config["lora_alpha"]) == (4, 4)  # gate and up of an expert add up
    assert config["rank_pattern"] == config["alpha_pattern"] == dict.fromkeys(config["target_modules"], 2)
    tensors = load_file(folder / "adapter_model.safetensors")
    experts = "base_model.model.model.layers.2.mlp.experts"
    shapes = {name: tuple(tensors[f"{experts}.{name}.weight"].shape) for name in ("base_layer.lora_A", "lora_B")}
    assert shapes == {"base_layer.lora_A": (4 * 4, 48), "lora_B": (48, 4 * 4)}


def test_an_expert_that_is_not_edited_has_zeros(planned: Callable[..., EditedModel], tmp_path: Path) -> None:
    one = planned("mixtral", plan=PLAN)
    kept = [edit for edit in one.edits if edit.submodule.expert in (None, 1)]
    assert len({edit.submodule.expert for edit in kept}) == 2
    tensors = load_file(one.adapter(tmp_path / "adapter", kept) / "adapter_model.safetensors")
    experts = "base_model.model.model.layers.2.mlp.experts"
    a = tensors[f"{experts}.base_layer.lora_A.weight"].view(4, 4, 48)
    b = tensors[f"{experts}.base_layer.lora_B.weight"].view(160, 4, 4)
    assert [bool(a[expert].any()) for expert in range(4)] == [False, True, False, False]
    assert [bool(b[:, :, expert].any()) for expert in range(4)] == [False, True, False, False]
    # The gate's rows are reached by its own columns only, the rows of up by the others.
    assert not b[:80, 2:].any() and not b[80:, :2].any()


@pytest.mark.parametrize("architecture", ["mixtral", "gpt_oss"])
def test_factors_of_experts_come_apart_as_they_were_put_together(
    architecture: str, planned: Callable[..., EditedModel]
) -> None:
    one = planned(architecture, plan=PLAN)
    edits = [edit for edit in one.edits if edit.submodule.parameter == "gate_up_proj" and edit.submodule.layer == 2]
    parts = [(edit.submodule, edit.change(edit.submodule.weight())) for edit in edits]
    anatomy = [submodule for submodule in one.anatomy.of_layer(2) if submodule.parameter == "gate_up_proj"]
    whole = stacked_experts(parts, 5)
    again = unstacked_experts(whole, anatomy, 2)
    assert [submodule.name for submodule, _ in again] == [submodule.name for submodule, _ in parts]
    for (_, change), (_, own) in zip(parts, again, strict=True):
        assert torch.equal(change.a, own.a) and torch.equal(change.b, own.b)
    with pytest.raises(InputError, match="do not fit 4 experts"):
        unstacked_experts(whole, anatomy, 3)
    with pytest.raises(InputError, match="numbers where its plan has none"):
        unstacked_experts(LowRankChange(whole.b + 1, whole.a), anatomy, 2)


def test_its_size_is_estimated_from_above(planned: Callable[..., EditedModel], tmp_path: Path) -> None:
    one = planned("mixtral", plan=PLAN)
    folder = one.adapter(tmp_path / "adapter")
    shape = ModelShape.of_folder(one.folder, json.loads((one.folder / "config.json").read_text()))
    factors = FLOAT32 * PLAN.rank * len(PLAN.layers) * shape.side_lengths
    size = sum(tensor.nbytes for tensor in load_file(folder / "adapter_model.safetensors").values())
    assert factors < size <= ADAPTER_OF_EXPERTS * factors
