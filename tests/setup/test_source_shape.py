"""What a quantised model takes: as its 16-bit form, and the conversion on top, from headers alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.estimates import CONFIG, TENSORS
from helpers.quantised_checkpoints import KINDS, quantised_checkpoint
from helpers.sparse_checkpoints import refuse_to_read_data, sparse_checkpoint

from prosafeprune.model.source import ModelSource
from prosafeprune.setup.model_size import ModelShape
from prosafeprune.setup.path_costs import DISK_SPEED, Conversion, PathCost, path_costs
from prosafeprune.setup.run_memory import LIBRARY_BYTES
from prosafeprune.setup.source_shape import DEQUANTISING_BYTES, SourceShape
from prosafeprune.setup.workload import Speed, Stage

Headers = dict[str, tuple[str, tuple[int, ...]]]
STAGES = {"search": [Stage("search", 1e6, 1e5)], "layers": [Stage("activations", 1e5), Stage("answers", 1e5, 1e5)]}
LLAMA = {"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 128256}
LLAMA |= {"tie_word_embeddings": False, "dtype": "bfloat16"}
GPT_OSS = {"num_hidden_layers": 24, "hidden_size": 2880, "intermediate_size": 2880, "vocab_size": 201088}
GPT_OSS |= {"num_local_experts": 32, "num_experts_per_tok": 4, "tie_word_embeddings": False, "dtype": "bfloat16"}


def llama(matrix: Callable[[str, int, int], Headers]) -> Headers:
    """Return the tensors of an 8 B Llama 3, whose linear layers are stored as ``matrix`` says."""
    sides = {"self_attn.q_proj": (4096, 4096), "self_attn.k_proj": (1024, 4096), "self_attn.v_proj": (1024, 4096)}
    sides |= {"self_attn.o_proj": (4096, 4096), "mlp.gate_proj": (14336, 4096), "mlp.up_proj": (14336, 4096)}
    sides |= {"mlp.down_proj": (4096, 14336)}
    found: Headers = {f"{table}.weight": ("BF16", (128256, 4096)) for table in ("model.embed_tokens", "lm_head")}
    for layer in range(32):
        found[f"model.layers.{layer}.input_layernorm.weight"] = ("BF16", (4096,))
        for name, (rows, columns) in sides.items():
            found |= matrix(f"model.layers.{layer}.{name}", rows, columns)
    return found


def dense(name: str, rows: int, columns: int) -> Headers:
    return {f"{name}.weight": ("BF16", (rows, columns))}


def fp8(name: str, rows: int, columns: int) -> Headers:
    blocks = (-(-rows // 128), -(-columns // 128))
    return {f"{name}.weight": ("F8_E4M3", (rows, columns)), f"{name}.weight_scale_inv": ("F32", blocks)}


def gptq(name: str, rows: int, columns: int) -> Headers:
    groups = columns // 128
    found: Headers = {f"{name}.qweight": ("I32", (columns // 8, rows)), f"{name}.qzeros": ("I32", (groups, rows // 8))}
    return found | {f"{name}.scales": ("F16", (groups, rows)), f"{name}.g_idx": ("I32", (columns,))}


def gpt_oss(*, packed: bool) -> Headers:
    """Return the tensors of gpt-oss-20b that its size depends on."""
    found: Headers = {f"{table}.weight": ("BF16", (201088, 2880)) for table in ("model.embed_tokens", "lm_head")}
    for layer in range(24):
        found[f"model.layers.{layer}.self_attn.q_proj.weight"] = ("BF16", (4096, 2880))
        for name, outputs in (("gate_up_proj", 5760), ("down_proj", 2880)):
            expert = f"model.layers.{layer}.mlp.experts.{name}"
            found[f"{expert}_bias"] = ("BF16", (32, outputs))
            if packed:
                found[f"{expert}_blocks"] = ("U8", (32, outputs, 90, 16))
                found[f"{expert}_scales"] = ("U8", (32, outputs, 90))
            else:
                found[expert] = ("BF16", (32, 2880, outputs))
    return found


LARGE: dict[str, tuple[dict[str, Any], Headers, Headers, dict[str, Any], int]] = {
    "fp8": (LLAMA, llama(dense), llama(fp8), {"weight_block_size": [128, 128]}, 14336 * 4096),
    "gptq": (LLAMA, llama(dense), llama(gptq), {"bits": 4, "group_size": 128}, 14336 * 4096),
    "mxfp4": (GPT_OSS, gpt_oss(packed=False), gpt_oss(packed=True), {}, 32 * 2880 * 5760),
}


def costs(found: SourceShape) -> list[PathCost]:
    return path_costs(
        found.shape, STAGES, Speed(1e4, 1e3), prompts=2000, layers=6, rank=16, conversion=found.conversion
    )


@pytest.mark.parametrize("kind", LARGE)
def test_a_quantised_model_takes_what_its_16_bit_form_does_and_the_conversion(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, plain, packed, settings, largest = LARGE[kind]
    sparse_checkpoint(tmp_path / "plain", plain, config)
    quantised = {**config, "quantization_config": {"quant_method": kind, **settings}}
    sparse_checkpoint(tmp_path / "packed", packed, quantised)
    refuse_to_read_data(monkeypatch)
    expected = SourceShape.of(ModelSource("plain", tmp_path / "plain"))
    found = SourceShape.of(ModelSource("packed", tmp_path / "packed", quantisation=kind))
    assert (found.shape, found.dtype, expected.conversion) == (expected.shape, expected.dtype, None)
    full = found.shape.size.weight_bytes
    files = (tmp_path / "packed" / "model.safetensors").stat().st_size
    assert files < 0.7 * full
    converting = LIBRARY_BYTES + DEQUANTISING_BYTES * largest
    assert found.conversion == Conversion(files, converting)
    for of_16_bits, cost in zip(costs(expected), costs(found), strict=True):
        assert cost.memory == max(of_16_bits.memory, converting)
        assert cost.disk == of_16_bits.disk + full
        if "low" in cost.name and "serve" not in cost.name:  # its weights are hashed as they pass
            assert cost.read == of_16_bits.read + 2 * files
        else:  # to convert, and to hash in place of the 16-bit files
            assert cost.read == of_16_bits.read - full + 2 * files
        if cost.seconds is not None and of_16_bits.seconds is not None and "low" not in cost.name:
            assert cost.seconds == pytest.approx(of_16_bits.seconds + files / DISK_SPEED)


def test_the_ways_of_a_quantised_model_say_how_it_is_written() -> None:
    shape = ModelShape.of_tensors(TENSORS, CONFIG)
    ordinary, quantised, gguf = (
        [cost.name for cost in costs(SourceShape(shape, torch.bfloat16, conversion))]
        for conversion in (None, Conversion(1e9, 1e9), Conversion(1e9, 1e9, is_gguf=True))
    )
    assert [name.replace("checkpoint", "--dequantise") for name in ordinary[:5]] == quantised[:5]
    assert ordinary[-2:] == ["given layers, --memory low, not measured", "given layers, --memory low --serve-with"]
    assert quantised[-2].startswith("given layers, --dequantise, --memory low")
    assert gguf == [*ordinary[:-2], "given layers, gguf"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_gives_the_shape_of_its_16_bit_form(kind: str, tmp_path: Path) -> None:
    quantised, plain = quantised_checkpoint(tmp_path, kind)
    method = KINDS[kind][1].get("quant_method", "mlx")
    found = SourceShape.of(ModelSource("tiny", quantised, quantisation=method))
    assert found.shape == SourceShape.of(ModelSource("tiny", plain)).shape
