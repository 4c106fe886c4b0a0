"""Quantised checkpoints in 16 bits: each layout as it is documented, and as its own library reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.dequantised import dequantised, matrix
from helpers.quantised_checkpoints import KINDS, mxfp4_checkpoint, pack, quantised_checkpoint
from safetensors.torch import load_file, save_file

from prosafeprune.checkpoint.quantised.stored_numbers import unpack_words
from prosafeprune.checkpoint.quantised.to_checkpoint import dequantise_checkpoint, dequantised_bytes
from prosafeprune.progress import SilentReporter


def read(folder: Path) -> dict[str, torch.Tensor]:
    return {name: one for file in sorted(folder.glob("*.safetensors")) for name, one in load_file(file).items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_checkpoint_is_dequantised_exactly(kind: str, tmp_path: Path) -> None:
    quantised, dense = quantised_checkpoint(tmp_path, kind)
    output = dequantised(quantised, tmp_path / "output")
    found, expected, stored = read(output), read(dense), read(quantised)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-7)
        if name in stored and not name.endswith("_proj.weight"):
            assert torch.equal(tensor.view(torch.uint8), stored[name].view(torch.uint8)), name
    assert dequantised_bytes(quantised, "tiny") == sum(one.nbytes for one in expected.values())
    index = json.loads((output / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == expected.keys()
    assert not {"quantization", "quantization_config"} & json.loads((output / "config.json").read_text()).keys()
    models = [transformers.AutoModelForCausalLM.from_pretrained(folder).eval() for folder in (output, dense)]
    with torch.no_grad():
        one, two = (model(torch.arange(5, 45).view(2, 20)).logits for model in models)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_matrices_are_rounded_to_the_dtype_of_the_config(dtype: str, tmp_path: Path) -> None:
    quantised, dense = quantised_checkpoint(tmp_path, "fp8")
    config = json.loads((quantised / "config.json").read_text())
    (quantised / "config.json").write_text(json.dumps({**config, "dtype": dtype}))
    found, expected = read(dequantised(quantised, tmp_path / "output")), read(dense)
    name = "model.layers.1.mlp.up_proj.weight"
    assert torch.equal(found[name], expected[name].to(getattr(torch, dtype)))
    assert found["model.norm.weight"].dtype == torch.float32  # as stored


def test_a_config_that_names_the_quantised_dtype_names_that_of_the_matrices(tmp_path: Path) -> None:
    """transformers cannot load a model in float8_e4m3fn."""
    quantised, _ = quantised_checkpoint(tmp_path, "fp8")
    config = json.loads((quantised / "config.json").read_text())
    (quantised / "config.json").write_text(json.dumps({**config, "dtype": "float8_e4m3fn"}))
    output = dequantised(quantised, tmp_path / "output")
    assert json.loads((output / "config.json").read_text())["dtype"] == "bfloat16"
    assert read(output)["model.layers.1.mlp.up_proj.weight"].dtype == torch.bfloat16


def test_gpt_oss_blocks_are_read_as_transformers_reads_them(tmp_path: Path) -> None:
    quantised, dense = mxfp4_checkpoint(tmp_path)
    found, expected = read(dequantised(quantised, tmp_path / "output")), read(dense)
    assert len(read(quantised)) > len(found) == len(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "output")


def test_fp8_blocks_are_read_as_transformers_reads_them(tmp_path: Path) -> None:
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    torch.manual_seed(0)
    weight, scale = torch.randn(96, 64).to(torch.float8_e4m3fn), torch.rand(3, 2)
    expected = Fp8Dequantize(None)._dequantize_one(weight, scale, torch.float32)
    stored = {"weight": weight, "weight_scale_inv": scale}
    found = matrix(tmp_path, stored, {"quant_method": "fp8", "weight_block_size": [32, 32]})
    assert torch.equal(found, expected)


@pytest.mark.parametrize("rows", [64, 128])
def test_a_single_row_of_declared_blocks_is_not_taken_for_groups(rows: int, tmp_path: Path) -> None:
    numbers, scale = torch.randn(rows, 960).to(torch.float8_e4m3fn), torch.rand(1, 8)
    groups = {"all": {"weights": {"num_bits": 8, "strategy": "block", "block_structure": [128, 128]}}}
    settings = {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": groups}
    found = matrix(tmp_path, {"weight": numbers, "weight_scale": scale}, settings)
    torch.testing.assert_close(found, numbers.float() * scale.repeat_interleave(128, 1)[:, :960])


@pytest.mark.parametrize("bits", [4, 8])
def test_compressed_columns_are_in_the_groups_that_are_stored_or_else_in_order(bits: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    numbers, scale = torch.randint(-8, 8, (16, 64)), torch.rand(16, 2)
    group = torch.randperm(64) // 32
    if bits == 4:
        packed = {"weight_packed": pack((numbers + 8).float(), 4), "weight_shape": torch.tensor(numbers.shape)}
        stored, form = {**packed, "weight_scale": scale}, "pack-quantized"
    else:
        stored, form = {"weight": numbers.to(torch.int8), "weight_scale": scale}, "int-quantized"
    settings = {"quant_method": "compressed-tensors", "format": form}
    for groups, of in ((group, group), (torch.full((64,), -1), torch.arange(64) // 32)):
        found = matrix(tmp_path, {**stored, "weight_g_idx": groups.int()}, settings)
        assert torch.equal(found, numbers * scale[:, of])


def test_a_single_file_of_another_name_becomes_one_that_is_loaded(tmp_path: Path) -> None:
    quantised, _ = quantised_checkpoint(tmp_path, "gptq")
    tensors = {name: one for shard in quantised.glob("*.safetensors") for name, one in load_file(shard).items()}
    for shard in [*quantised.glob("*.safetensors"), *quantised.glob("*.index.json")]:
        shard.unlink()
    save_file(tensors, quantised / "gptq_model-4bit-32g.safetensors")
    (output := tmp_path / "out").mkdir()
    dequantise_checkpoint(quantised, "tiny", output, SilentReporter())
    assert transformers.AutoModelForCausalLM.from_pretrained(output).config.model_type


COMPRESSED = {
    "float-quantized": {"num_bits": 8, "type": "float", "strategy": "channel"},
    "int-quantized": {"num_bits": 8, "type": "int", "strategy": "tensor"},
    "pack-quantized": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": False},
    "pack-quantized ": {"num_bits": 8, "type": "int", "strategy": "channel"},
    "nvfp4-pack-quantized": {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
    "mxfp4-pack-quantized": {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32},
}


@pytest.mark.parametrize("form", COMPRESSED)
def test_compressed_tensors_are_read_as_their_library_reads_them(form: str, tmp_path: Path) -> None:
    library = pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors.base import BaseCompressor

    args = library.quantization.QuantizationArgs(**COMPRESSED[form])
    scheme = library.quantization.QuantizationScheme(targets=["Linear"], weights=args)
    torch.manual_seed(0)
    weight = torch.randn(48, 64)
    groups = 64 // args.group_size if args.strategy in ("group", "tensor_group") else 1
    largest = weight.unflatten(1, (groups, -1)).abs().amax(-1)
    if args.strategy == "tensor":
        largest = largest.amax()[None]
    top = {"float-quantized": 448, "nvfp4-pack-quantized": 6, "mxfp4-pack-quantized": 6}
    state = {"weight": weight, "weight_scale": largest / top.get(form, 2 ** (args.num_bits - 1) - 1)}
    if form.startswith("mxfp4"):
        state["weight_scale"] = state["weight_scale"].log2().ceil().exp2()
    if form.startswith("nvfp4"):
        state["weight_global_scale"] = torch.tensor([100.0])
        state["weight_scale"] = (state["weight_scale"] * 100).to(torch.float8_e4m3fn).float()
    if not args.symmetric:
        state["weight_zero_point"] = torch.randint(-3, 4, largest.shape, dtype=torch.int8)
    compressor = BaseCompressor.get_value_from_registry(form.strip())
    stored = compressor.compress(dict(state), scheme)
    expected = compressor.decompress(dict(stored), scheme)["weight"].float()
    found = matrix(tmp_path, stored, {"quant_method": "compressed-tensors", "format": form.strip()})
    close = 1e-2 if form.startswith("nvfp4") else 1e-5  # there, the library computes in bfloat16
    torch.testing.assert_close(found, expected, rtol=close, atol=1e-6)
    assert (found - weight).norm() < 0.4 * weight.norm()


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_mlx_is_read_as_its_library_reads_it(bits: int, tmp_path: Path) -> None:
    core = pytest.importorskip("mlx.core")
    import numpy as np

    weight = np.random.default_rng(0).normal(size=(40, 128)).astype(np.float32)
    packed, scales, biases = core.quantize(core.array(weight), group_size=64, bits=bits)
    expected = np.array(core.dequantize(packed, scales, biases, group_size=64, bits=bits))
    stored = {name: torch.from_numpy(np.array(one)) for name, one in (("scales", scales), ("biases", biases))}
    stored["weight"] = torch.from_numpy(np.array(packed).view(np.int32)).view(torch.uint32)
    found = matrix(tmp_path, stored, {"bits": bits, "group_size": 64})
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


BITSANDBYTES: list[dict[str, Any]] = [
    {"quant_type": "nf4"},
    {"quant_type": "fp4"},
    {"quant_type": "nf4", "compress_statistics": True},
    {},
]


@pytest.mark.parametrize("options", BITSANDBYTES, ids=["nf4", "fp4", "nested", "int8"])
def test_bitsandbytes_is_read_as_its_library_reads_it(options: dict[str, Any], tmp_path: Path) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    torch.manual_seed(0)
    weight = torch.randn(96, 128)
    if options:
        packed, state = functional.quantize_4bit(weight, **{"compress_statistics": False, **options})
        stored = {"weight": packed, **{f"weight.{key}": one for key, one in state.as_dict(packed=True).items()}}
        expected = functional.dequantize_4bit(packed, state)
    else:
        numbers, scale, _ = functional.int8_vectorwise_quant(weight.half())
        stored = {"weight": numbers, "SCB": scale, "weight_format": torch.zeros((), dtype=torch.uint8)}
        expected = functional.int8_vectorwise_dequant(numbers, scale)
    found = matrix(tmp_path, stored, {"quant_method": "bitsandbytes"})
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("storage", [torch.bfloat16, torch.float32])
def test_four_bits_of_bitsandbytes_may_be_stored_as_numbers_of_another_dtype(
    storage: torch.dtype, tmp_path: Path
) -> None:
    stored, expected = KINDS["bitsandbytes_4_bits"][0](torch.randn(8, 64))
    stored["weight"] = stored["weight"].flatten().view(storage).unsqueeze(1)  # bnb_4bit_quant_storage
    settings = {"quant_method": "bitsandbytes", "bnb_4bit_quant_storage": str(storage).removeprefix("torch.")}
    torch.testing.assert_close(matrix(tmp_path, stored, settings), expected)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_zero_points_of_0_in_the_original_gptq_format(bits: int, tmp_path: Path) -> None:
    """Writers subtract 1 from complete words of zero points; from each number where these cross words."""
    shape = torch.Generator().manual_seed(bits)
    numbers = torch.randint(2**bits, (64, 32), generator=shape)
    zero = torch.randint(2**bits, (2, 64), generator=shape) * torch.randint(2, (2, 64), generator=shape)  # half are 0
    scale = torch.rand(2, 64, generator=shape)
    words = pack(zero, bits)
    if bits == 3:
        less_one = pack((zero - 1) % 8, bits)
    else:
        ones = sum(1 << place for place in range(0, 32, bits))
        less_one = (words.long() - ones).to(torch.int32)  # which keeps the lowest 32 bits
    stored = {"qweight": pack(numbers, bits).T.contiguous(), "scales": scale}
    stored["g_idx"] = (torch.arange(32) // 16).int()
    expected = (numbers - zero.T.repeat_interleave(16, 1)) * scale.T.repeat_interleave(16, 1)
    for packing, zeros in (("gptq", less_one), ("gptq_v2", words)):
        settings = {"quant_method": "gptq", "bits": bits, "group_size": 16, "checkpoint_format": packing}
        found = matrix(tmp_path / packing, {**stored, "qzeros": zeros}, settings)
        torch.testing.assert_close(found, expected)


def test_numbers_of_a_few_bits_cross_words() -> None:
    words = torch.tensor([[-1, 0, 0]], dtype=torch.int32)
    assert unpack_words(words, 3).tolist() == [[7] * 10 + [3] + [0] * 21]
