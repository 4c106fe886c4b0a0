"""GGUF files of tiny models, written as llama.cpp's converter would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, get_tensor_name_map
from gguf.quants import quantize

Tensors = dict[str, np.ndarray]


def gguf_tensors(model: Any, architecture: str) -> Tensors:
    """Return a model's tensors under their names in a GGUF."""
    config = model.config
    arch = next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(arch, config.num_hidden_layers)
    found = {}
    for name, tensor in model.state_dict().items():
        bare, _, suffix = name.rpartition(".")
        stored = names.get_name(bare)
        if stored is None or (stored == "output" and config.tie_word_embeddings):
            continue
        if architecture == "llama" and stored.endswith(("attn_q", "attn_k")):
            heads = config.num_attention_heads if stored.endswith("q") else config.num_key_value_heads
            permuted = tensor.reshape(heads, 2, -1, tensor.shape[-1]).swapaxes(1, 2).reshape(tensor.shape)
        else:
            permuted = tensor
        found[f"{stored}.{suffix}"] = permuted.float().contiguous().numpy()
    return found


def gguf_metadata(config: Any) -> dict[str, Any]:
    return {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
        "rope.dimension_count": config.hidden_size // config.num_attention_heads,
        "vocab_size": config.vocab_size,
    }


def write_gguf(
    file: Path,
    architecture: str,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    split: Mapping[str, int] | None = None,
    tokenizer: Any = None,
    types: Mapping[str, str] | None = None,
) -> Path:
    """Write a file; ``types`` quantises the matrices of layers, by the name of their kind, such as ``attn_q``."""
    writer = GGUFWriter(file, architecture)
    writer.add_name("tiny")
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    for key, value in metadata.items():
        kind = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        kind.get(type(value), writer.add_array)(f"{architecture}.{key}", value)
    for key, value in (split or {}).items():
        writer.add_uint16(key, value)
    if tokenizer is not None:
        add_tokenizer(writer, tokenizer)
    for name, tensor in tensors.items():
        kind = (types or {}).get(name.split(".")[2]) if name.startswith("blk") and tensor.ndim > 1 else None
        stored = GGMLQuantizationType[kind] if kind is not None else None
        writer.add_tensor(name, tensor if stored is None else quantize(tensor, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def add_tokenizer(writer: GGUFWriter, tokenizer: Any) -> None:
    """Add a byte-level tokenizer with one merge, as llama.cpp's converter stores GPT-2's."""
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    merge = tokens[-2:]  # the format takes no empty list
    tokens.append("".join(merge))
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])  # control, normal
    writer.add_token_merges([" ".join(merge)])
    writer.add_chat_template(tokenizer.chat_template)


def write_split_gguf(folder: Path, architecture: str, metadata: Mapping[str, Any], tensors: Tensors) -> list[Path]:
    """Write a GGUF in two parts; the first has the metadata."""
    names, files = sorted(tensors), []
    for number, part in enumerate((names[::2], names[1::2])):
        split = {"split.no": number, "split.count": 2, "split.tensors.count": len(names)}
        file = folder / f"tiny-0000{number + 1}-of-00002.gguf"
        given = metadata if number == 0 else {}
        files.append(write_gguf(file, architecture, given, {name: tensors[name] for name in part}, split))
    return files


def rounded(model: Any) -> Any:
    """Round a model's weights, but not its rotary frequencies, to float16."""
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    return model


def logits_of(model: Any) -> torch.Tensor:
    for parameter in model.parameters():
        parameter.data = parameter.data.float()
    with torch.no_grad():
        return model(torch.arange(5, 205)[None] % 250).logits
