"""Tiny checkpoints in each quantised layout, written number by number from the layouts' documentation.

Packing goes through Python's integers, so it shares nothing with the package's unpacking.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from helpers.architectures import ARCHITECTURES
from helpers.tiny_models import make_tokenizer

Tensors = dict[str, torch.Tensor]
Written = tuple[Tensors, torch.Tensor]
"""What is stored for a matrix, by the ending of its name, and the matrix that it stands for."""
FP4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]


def pack(rows: torch.Tensor, bits: int) -> torch.Tensor:
    """Return each row's integers as 32-bit words, the first in the lowest bits."""
    packed = []
    for row in rows.tolist():
        number = sum(int(value) << (bits * place) for place, value in enumerate(row))
        data = number.to_bytes(-(-bits * len(row) // 32) * 4, "little")
        packed.append(torch.frombuffer(bytearray(data), dtype=torch.int32))
    return torch.stack(packed)


def blocks_of(matrix: torch.Tensor, rows: int, columns: int) -> list[tuple[int, int, torch.Tensor]]:
    """Return index and view of each block."""
    height, width = matrix.shape
    return [
        (i, j, matrix[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns])
        for i in range(-(-height // rows))
        for j in range(-(-width // columns))
    ]


def fp8(weight: torch.Tensor) -> Written:
    stored, dense = torch.empty_like(weight, dtype=torch.float8_e4m3fn), torch.empty_like(weight)
    scales = torch.empty(-(-weight.shape[0] // 48), -(-weight.shape[1] // 40))
    for i, j, block in blocks_of(weight, 48, 40):
        scales[i, j] = block.abs().max() / 448
        numbers = (block / scales[i, j]).to(torch.float8_e4m3fn)
        stored[i * 48 : (i + 1) * 48, j * 40 : (j + 1) * 40] = numbers
        dense[i * 48 : (i + 1) * 48, j * 40 : (j + 1) * 40] = numbers.float() * scales[i, j]
    return {"weight": stored, "weight_scale_inv": scales, "input_scale": torch.ones(())}, dense


def fp8_per_matrix(weight: torch.Tensor) -> Written:
    scale = weight.abs().max() / 448
    stored = (weight / scale).to(torch.float8_e4m3fn)
    return {"weight": stored, "weight_scale_inv": scale.clone()}, stored.float() * scale


def compressed_fp8(weight: torch.Tensor) -> Written:
    scale = (weight.abs().amax(1, keepdim=True) / 448).bfloat16()
    stored = (weight / scale).to(torch.float8_e4m3fn)
    return {"weight": stored, "weight_scale": scale}, stored.float() * scale.float()


def compressed_int8(weight: torch.Tensor) -> Written:
    scale = weight.abs().amax(1, keepdim=True) / 127
    stored = (weight / scale).round().to(torch.int8)
    return {"weight": stored, "weight_scale": scale}, stored.float() * scale


def integers(weight: torch.Tensor, bits: int, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ``(rows, columns)`` integers, and scales and zero points ``(rows, groups)``."""
    grouped = weight.unflatten(1, (-1, size))
    low, high = grouped.amin(-1), grouped.amax(-1)
    scale = (high - low) / (2**bits - 1)
    zero = (-low / scale).round().clamp(1, 2**bits - 1)
    numbers = (grouped / scale.unsqueeze(-1) + zero.unsqueeze(-1)).round().clamp(0, 2**bits - 1)
    return numbers.flatten(1), scale, zero


def compressed_int4(weight: torch.Tensor) -> Written:
    numbers, scale, zero = integers(weight, 4, 32)
    dense = (numbers - zero.repeat_interleave(32, 1)) * scale.repeat_interleave(32, 1)
    stored = {"weight_packed": pack(numbers, 4), "weight_zero_point": pack(zero.T, 4).T.contiguous()}
    return {**stored, "weight_scale": scale, "weight_shape": torch.tensor(weight.shape)}, dense


def gptq(weight: torch.Tensor, bits: int = 4, one: int = 1) -> Written:
    order = torch.randperm(weight.shape[1], generator=torch.Generator().manual_seed(3))
    numbers, scale, zero = integers(weight[:, order], bits, 32)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    group = place // 32
    numbers = numbers[:, place]
    scale = scale.half()
    stored = {
        "qweight": pack(numbers, bits).T.contiguous(),
        "qzeros": pack(zero.T - one, bits),
        "scales": scale.T.contiguous(),
        "g_idx": group.int(),
    }
    return stored, (numbers - zero[:, group]) * scale.float()[:, group]


def gptq_3_bits(weight: torch.Tensor) -> Written:
    return gptq(weight, bits=3)


def gptq_2(weight: torch.Tensor) -> Written:
    return gptq(weight, one=0)


def awq(weight: torch.Tensor) -> Written:
    numbers, scale, zero = integers(weight, 4, 32)
    scale = scale.half()
    dense = (numbers - zero.repeat_interleave(32, 1)) * scale.float().repeat_interleave(32, 1)

    def packed(columns: torch.Tensor) -> torch.Tensor:
        eights = columns.unflatten(1, (-1, 8))[..., [0, 2, 4, 6, 1, 3, 5, 7]]  # AutoAWQ's order_map
        return pack(eights.flatten(1), 4)

    return {"qweight": packed(numbers.T), "qzeros": packed(zero.T), "scales": scale.T.contiguous()}, dense


def mlx(weight: torch.Tensor, bits: int = 4) -> Written:
    numbers, scale, zero = integers(weight, bits, 32)
    scale, bias = scale.bfloat16(), (-zero * scale).bfloat16()
    dense = numbers * scale.float().repeat_interleave(32, 1) + bias.float().repeat_interleave(32, 1)
    return {"weight": pack(numbers, bits).view(torch.uint32), "scales": scale, "biases": bias}, dense


def mlx_6_bits(weight: torch.Tensor) -> Written:
    return mlx(weight, 6)


def bitsandbytes_4_bits(weight: torch.Tensor) -> Written:
    values = torch.linspace(-1, 1, 16) ** 3
    blocks = weight.flatten().view(-1, 64)
    codes = torch.linspace(0, 1, 256)
    largest, offset = blocks.abs().amax(1), 0.25
    outer = (largest - offset).abs().max()[None]
    digits = ((largest - offset) / outer).clamp(0)
    nested = (digits.unsqueeze(1) - codes).abs().argmin(1).to(torch.uint8)
    absmax = codes[nested.long()] * outer + offset
    numbers = ((blocks / absmax.unsqueeze(1)).unsqueeze(-1) - values).abs().argmin(-1)
    dense = (values[numbers] * absmax.unsqueeze(1)).reshape(weight.shape)
    flat = numbers.flatten().tolist()
    packed = torch.tensor([(a << 4) | b for a, b in zip(flat[::2], flat[1::2], strict=True)], dtype=torch.uint8)
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": list(weight.shape)}
    state |= {"nested_offset": offset, "nested_blocksize": 256, "nested_dtype": "float32"}
    raw = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)
    stored = {"weight": packed.unsqueeze(1), "weight.absmax": nested, "weight.quant_map": values}
    stored |= {"weight.nested_absmax": outer, "weight.nested_quant_map": codes}
    return {**stored, "weight.quant_state.bitsandbytes__nf4": raw}, dense


def bitsandbytes_8_bits(weight: torch.Tensor) -> Written:
    scale = weight.abs().amax(1)
    numbers = (weight / scale.unsqueeze(1) * 127).round().to(torch.int8)
    dense = numbers.float() * (scale / 127).unsqueeze(1)
    return {"weight": numbers, "SCB": scale, "weight_format": torch.zeros((), dtype=torch.uint8)}, dense


def compressed(form: str, **weights: Any) -> dict[str, Any]:
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": groups}


Write = Callable[[torch.Tensor], Written]
KINDS: dict[str, tuple[Write, dict[str, Any]]] = {
    "fp8": (fp8, {"quant_method": "fp8", "weight_block_size": [48, 40]}),
    "fp8_per_matrix": (fp8_per_matrix, {"quant_method": "fp8", "weight_block_size": None}),
    "compressed_fp8": (compressed_fp8, compressed("float-quantized", num_bits=8, strategy="channel")),
    "compressed_int8": (compressed_int8, compressed("int-quantized", num_bits=8, strategy="channel")),
    "compressed_int4": (compressed_int4, compressed("pack-quantized", num_bits=4, strategy="group", group_size=32)),
    "gptq": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True}),
    "gptq_3_bits": (gptq_3_bits, {"quant_method": "gptq", "bits": 3, "group_size": 32, "desc_act": True}),
    "gptq_2": (gptq_2, {"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq_v2"}),
    "awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}),
    "mlx": (mlx, {"bits": 4, "group_size": 32}),
    "mlx_6_bits": (mlx_6_bits, {"bits": 6, "group_size": 32, "mode": "affine"}),
    "bitsandbytes_4_bits": (bitsandbytes_4_bits, {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "bitsandbytes_8_bits": (bitsandbytes_8_bits, {"quant_method": "bitsandbytes", "load_in_8bit": True}),
}


def dense_checkpoint(folder: Path, architecture: str = "llama", inner: int = 96) -> Path:
    """Write a tiny checkpoint whose widths are multiples of 32; bitsandbytes needs an ``inner`` of blocks of 64."""
    torch.manual_seed(0)
    config = ARCHITECTURES[architecture]()
    config.update({"hidden_size": 64, "intermediate_size": inner})
    if architecture == "llama":
        config.update({"head_dim": 16})
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 or "experts" in name:
                parameter.normal_(0, 0.15)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def quantised_checkpoint(folder: Path, kind: str, architecture: str = "llama") -> tuple[Path, Path]:
    """Write a tiny checkpoint of a kind, in two shards; return its folder and that of what it stands for."""
    write, settings = KINDS[kind]
    dense, quantised = dense_checkpoint(folder / "dense", architecture), folder / "quantised"
    tensors, stored = load_file(dense / "model.safetensors"), {}
    for name, weight in list(tensors.items()):
        if not name.endswith("_proj.weight"):
            stored[name] = weight
            continue
        found, tensors[name] = write(weight)
        stored |= {f"{name.removesuffix('weight')}{ending}": one for ending, one in found.items()}
    save_file(tensors, dense / "model.safetensors", metadata={"format": "pt"})
    shutil.copytree(dense, quantised)
    (quantised / "model.safetensors").unlink()
    write_shards(quantised, stored)
    config = json.loads((quantised / "config.json").read_text())
    key = "quantization" if "quant_method" not in settings else "quantization_config"
    (quantised / "config.json").write_text(json.dumps({**config, key: settings}))
    return quantised, dense


def mxfp4_checkpoint(folder: Path) -> tuple[Path, Path]:
    """Write a tiny gpt-oss as it is released; return its folder and that of what transformers reads from it."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    dense, quantised = dense_checkpoint(folder / "dense", "gpt_oss"), folder / "quantised"
    tensors, stored = load_file(dense / "model.safetensors"), {}
    torch.manual_seed(1)
    for name, tensor in list(tensors.items()):
        if not name.endswith(("gate_up_proj", "down_proj")):
            stored[name] = tensor
            continue
        experts, inputs, outputs = tensor.shape
        blocks = torch.randint(256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8)
        scales = torch.randint(120, 128, (experts, outputs, inputs // 32), dtype=torch.uint8)
        stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        tensors[name] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).contiguous()
    save_file(tensors, dense / "model.safetensors", metadata={"format": "pt"})
    shutil.copytree(dense, quantised)
    (quantised / "model.safetensors").unlink()
    write_shards(quantised, stored)
    config = json.loads((quantised / "config.json").read_text())
    (quantised / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "mxfp4"}}))
    return quantised, dense


def write_shards(folder: Path, stored: Tensors) -> None:
    """Write tensors into two shards: every other one, so that a matrix and its scales are in different files."""
    names = sorted(stored)
    files = {name: f"model-{i % 2 + 1:05}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        content = {name: stored[name].contiguous() for name in names if files[name] == file}
        save_file(content, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
