"""Quantised checkpoints that cannot be read: damaged, hostile, or in layouts that are not known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.dequantised import dequantised, matrix
from helpers.quantised_checkpoints import KINDS, quantised_checkpoint
from safetensors.torch import load_file, save_file

from prosafeprune.errors import InputError


def test_awq_with_scales_of_activations_is_refused(tmp_path: Path) -> None:
    stored, _ = KINDS["awq"][0](torch.randn(32, 64))
    stored["act.scales"] = torch.full((32,), 2.0)  # the model divides the activations before the next matrix by these
    with pytest.raises(InputError, match=r"scales of activations \(model\.layers\.0\.x\.act\.scales\) cannot be read"):
        matrix(tmp_path, stored, {"quant_method": "awq"})


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"quant_method": "aqlm"}, "quantised by aqlm"),
        ({"quant_method": "awq", "version": "gemv"}, "AWQ of version gemv"),
        ({"quant_method": "gptq", "checkpoint_format": "marlin"}, "GPTQ in the format marlin"),
        ({"quant_method": "compressed-tensors", "format": "marlin-24"}, "format marlin-24"),
        ({"quant_method": "compressed-tensors", "transform_config": {"config_groups": {"R1": {}}}}, "rotated weights"),
        ({"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-24"}}, "sparse weights"),
        ({"bits": 4, "group_size": 32, "mode": "mxfp4"}, "MLX in the mode mxfp4"),
        ({"quant_method": "fp8"}, "no tensor is quantised so"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_a_remedy(settings: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        matrix(tmp_path, {"weight": torch.ones(4, 4)}, settings)
    assert str(caught.value).startswith("tiny: ")
    assert "\n" not in str(caught.value)
    assert "Give the unquantised model" in str(caught.value) or "Fetch" in str(caught.value)


def test_missing_and_odd_tensors_are_named(tmp_path: Path) -> None:
    settings = {"quant_method": "fp8", "weight_block_size": [32, 32]}
    weight = torch.ones(64, 64).to(torch.float8_e4m3fn)
    with pytest.raises(InputError, match="scales do not fit its shape"):
        matrix(tmp_path / "a", {"weight": weight, "weight_scale_inv": torch.ones(2, 3)}, settings)
    with pytest.raises(InputError, match=r"x\.weight: is missing"):
        matrix(tmp_path / "b", {"weight_scale_inv": torch.ones(2, 2)}, settings)
    stored = {"weight": weight, "weight_scale_inv": torch.ones(2, 2), "y.weight": weight.clone()}
    with pytest.raises(InputError, match=r"y\.weight is stored as F8_E4M3 without scales"):
        matrix(tmp_path / "c", stored, settings)
    with pytest.raises(InputError, match=r"x\.qzeros: is missing"):
        matrix(tmp_path / "d", {"qweight": torch.ones(4, 8, dtype=torch.int32)}, {"quant_method": "gptq"})
    stored, _ = KINDS["gptq"][0](torch.randn(32, 64))
    del stored["g_idx"]  # with act-order, groups taken one after the other would be other weights
    with pytest.raises(InputError, match=r"x\.g_idx: is missing"):
        matrix(tmp_path / "e", stored, KINDS["gptq"][1])


def test_a_scale_that_is_not_finite_stops_the_conversion(tmp_path: Path) -> None:
    quantised, _ = quantised_checkpoint(tmp_path, "compressed_int8")
    for file in quantised.glob("*.safetensors"):
        tensors = load_file(file)
        for name, one in tensors.items():
            if name.endswith("weight_scale"):
                one[0] = float("nan")
        save_file(tensors, file)
    with pytest.raises(InputError, match="not finite when it is dequantised"):
        dequantised(quantised, tmp_path / "output")


def test_hostile_sizes_and_groups_are_one_line(tmp_path: Path) -> None:
    quantised, _ = quantised_checkpoint(tmp_path, "gptq")
    for file in quantised.glob("*.safetensors"):
        tensors = load_file(file)
        for name, one in tensors.items():
            if name.endswith("g_idx"):
                one[0] = -1
        save_file(tensors, file)
    with pytest.raises(InputError, match=r"weight cannot be dequantised \(an input without a group\)"):
        dequantised(quantised, tmp_path / "output")
    settings = {"quant_method": "fp8", "weight_block_size": [2**39, 2**39]}
    stored = {"weight": torch.ones(8, 8).to(torch.float8_e4m3fn), "weight_scale_inv": torch.full((1, 1), 3.0)}
    assert torch.equal(matrix(tmp_path / "b", {**stored}, settings), torch.full((8, 8), 3.0))
    stored, _ = KINDS["bitsandbytes_4_bits"][0](torch.randn(8, 64))
    for change in ({"shape": [-8, -64]}, {"blocksize": 0}, {"nested_blocksize": 2**60}):
        key = "weight.quant_state.bitsandbytes__nf4"
        state = {**json.loads(bytes(stored[key].tolist())), **change}
        raw = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)
        if "nested_blocksize" in change:  # one block in any case: no memory is taken for the others
            found = matrix(tmp_path / "c", {**stored, key: raw}, {"quant_method": "bitsandbytes"})
            assert found.shape == (8, 64)
            continue
        with pytest.raises(InputError, match="state cannot be read"):
            matrix(tmp_path / "c", {**stored, key: raw}, {"quant_method": "bitsandbytes"})
