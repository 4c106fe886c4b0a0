"""Tiny GGUF files that llama.cpp reads, with every kind of RoPE, soft caps and windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from gguf import GGUFWriter

from helpers.architectures import ARCHITECTURES
from helpers.gguf_files import gguf_metadata, gguf_tensors
from helpers.tiny_models import make_tokenizer


def divisors(kind: str) -> dict[str, np.ndarray]:
    """Return the RoPE frequencies' divisors that a file has: Llama 3's (original context 64), or any others."""
    if kind == "any":
        return {"rope_freqs.weight": np.linspace(1, 3, 8, dtype=np.float32)}
    wavelengths = 2 * np.pi * 10000.0 ** (np.arange(8) / 8)
    smooth = np.clip((64 / wavelengths - 1) / 3, 0, 1)
    return {"rope_freqs.weight": (1 / ((1 - smooth) / 8 + smooth)).astype(np.float32)}


def long_factors() -> dict[str, np.ndarray]:
    return {f"rope_factors_{one}.weight": np.linspace(1, 2, 8, dtype=np.float32) for one in ("long", "short")}


YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64}
WINDOW = {"attention.sliding_window": 16, "attention.key_length": 16, "attention.value_length": 16}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}
CASES: dict[str, tuple[str, dict[str, Any], Callable[[], dict[str, np.ndarray]]]] = {
    "llama": ("llama", {}, dict),
    "llama, linear": ("llama", {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, dict),
    "llama, Llama 3": ("llama", {}, lambda: divisors("llama3")),
    "llama, any divisors": ("llama", {}, lambda: divisors("any")),
    "qwen2, YaRN": ("qwen2", YARN, dict),
    "qwen2, YaRN with a factor": ("qwen2", {**YARN, "rope.scaling.attn_factor": 0.8}, dict),
    "qwen3": ("qwen3", {"attention.key_length": 16, "attention.value_length": 16}, dict),
    "gemma2, soft caps and windows": ("gemma2", {**WINDOW, **CAPS}, dict),
    "phi3, longrope": ("phi3", {"rope.scaling.original_context_length": 64}, long_factors),
}


def write_case(file: Path, architecture: str, keys: dict[str, Any], more: dict[str, np.ndarray]) -> Path:
    """Write a tiny file whose weights are exact in float16."""
    torch.manual_seed(0)
    config = ARCHITECTURES[architecture]()
    config.update({"hidden_size": 64, "intermediate_size": 96, "head_dim": 16})
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.15)
    tensors = {**gguf_tensors(model, architecture), **more}
    if architecture == "gemma2":  # as llama.cpp's converter stores norms, which multiply by one more
        tensors = {name: one + 1 if "norm" in name else one for name, one in tensors.items()}
    writer = GGUFWriter(file, architecture)
    for key, value in {**gguf_metadata(config), "rope.dimension_count": 16, **keys}.items():
        kind = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        kind(f"{architecture}.{key}", value)
    tokens = [token for token, _ in sorted(make_tokenizer().get_vocab().items(), key=lambda item: item[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokens, *(f"<{number}>" for number in range(len(tokens), 300))])
    writer.add_token_types([1] * 300)
    writer.add_token_merges([" ".join(tokens[-2:])])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.astype(np.float16).astype(np.float32) if tensor.ndim > 1 else tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
