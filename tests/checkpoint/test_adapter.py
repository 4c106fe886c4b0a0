"""Adapters against the checkpoints they stand for, in plain PEFT: run, scaled and merged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.edited_models import EditedModel, assert_plain_peft_agrees, load_plain
from helpers.tiny_models import CONFIGS
from peft import PeftConfig
from safetensors.torch import load_file

from prosafeprune.checkpoint.adapter import stacked, unstacked
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Plan, Pooling

PLAN = Plan(layers=(0, 2), rank=4, strength=(0.8, 0.5), pooling=Pooling.TAIL)
IDS = torch.arange(5, 45).view(2, 20)


@pytest.mark.parametrize("architecture", [*CONFIGS, "qwen3_5"])
def test_plain_peft_runs_what_the_edited_checkpoint_runs(
    architecture: str, planned: Callable[..., EditedModel], tmp_path: Path
) -> None:
    assert_plain_peft_agrees(planned(architecture), tmp_path)


@pytest.mark.parametrize("architecture", ["llama", "phi3", "gpt2"])
def test_merged_in_half_precision_it_is_the_checkpoint_to_the_last_bit_or_two(
    architecture: str, planned: Callable[..., EditedModel], tmp_path: Path
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


def test_the_config_is_that_of_a_plain_lora_with_scaling_one(
    planned: Callable[..., EditedModel], tmp_path: Path
) -> None:
    one = planned("phi3")
    folder = one.adapter(tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["task_type"] == "CAUSAL_LM"
    assert (folder / config["base_model_name_or_path"]).resolve() == one.folder.resolve()
    assert config["base_model_name_or_path"].startswith("..")  # no path of the machine that made it
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


def test_factors_of_a_fused_matrix_come_apart_as_they_were_put_together(planned: Callable[..., EditedModel]) -> None:
    one = planned("gpt_neox")  # its q, k and v rows alternate
    fused = [edit for edit in one.edits if edit.submodule.rows is not None and edit.submodule.layer == 0]
    parts = [(edit.submodule, edit.change(edit.submodule.weight())) for edit in fused]
    whole = stacked(parts)
    for (_, change), again in zip(parts, unstacked(whole, [edit.submodule for edit in fused], 4), strict=True):
        assert torch.equal(change.a, again.a)
        assert torch.equal(change.b, again.b)
    with pytest.raises(InputError, match="do not fit a matrix"):
        unstacked(whole, [edit.submodule for edit in fused], 3)
