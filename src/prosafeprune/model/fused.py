"""Fused matrices: which output rows of one stored matrix belong to which submodule of the paper.

Models store q, k and v, or gate and up, stacked in one matrix in one of several layouts. Each layout here returns the
output rows of each submodule by the paper's name. A gate on the outputs of attention is called output_gate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Rows = dict[str, torch.Tensor]


@dataclass(frozen=True)
class AttentionShape:
    """Numbers of query and key/value heads and the width of one head."""

    heads: int
    key_value_heads: int
    head_width: int


def config_of_layer(config: Any, layer: int) -> Any:
    """Return the text config as it holds for one layer: in Gemma 4, the heads of some layers are wider than others'."""
    return config.per_layer_config[layer]


def attention_shape(config: Any) -> AttentionShape:
    """Read the shape of attention from the text config of a layer, whatever its field names."""
    heads = config.num_attention_heads
    # Falcon gives its key/value heads as a flag (multi_query) or as num_kv_heads.
    key_value_heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_kv_heads", None) or heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return AttentionShape(heads, key_value_heads, head_width)


def stacked_qkv(config: Any) -> Rows:
    """All query rows, then all key rows, then all value rows (Phi-3, GPT-2, InternLM-like)."""
    shape = attention_shape(config)
    query, key = shape.heads * shape.head_width, shape.key_value_heads * shape.head_width
    rows = torch.arange(query + 2 * key)
    return {"q": rows[:query], "k": rows[query : query + key], "v": rows[query + key :]}


def interleaved_qkv(config: Any) -> Rows:
    """For each head its query, key and value rows (GPT-NeoX, BLOOM, lightning attention of MiniMax)."""
    shape = attention_shape(config)
    rows = torch.arange(shape.heads * 3 * shape.head_width).view(shape.heads, 3, shape.head_width)
    return {name: rows[:, i].reshape(-1) for i, name in enumerate("qkv")}


def falcon_qkv(config: Any) -> Rows:
    """Falcon's three layouts: grouped (new architecture), one shared key/value head, or interleaved."""
    if config.new_decoder_architecture:
        groups, width = config.num_kv_heads, config.hidden_size // config.num_attention_heads
        per_group = config.num_attention_heads // groups
        rows = torch.arange(groups * (per_group + 2) * width).view(groups, per_group + 2, width)
        parts = {"q": rows[:, :-2], "k": rows[:, -2], "v": rows[:, -1]}
        return {name: part.reshape(-1) for name, part in parts.items()}
    if config.multi_query:
        width = config.hidden_size // config.num_attention_heads
        rows = torch.arange(config.hidden_size + 2 * width)
        return {"q": rows[: config.hidden_size], "k": rows[config.hidden_size : -width], "v": rows[-width:]}
    return interleaved_qkv(config)


def bigcode_qkv(config: Any) -> Rows:
    """GPT-BigCode's two layouts: all query rows and one key and value head (StarCoder), or interleaved."""
    if not config.multi_query:
        return interleaved_qkv(config)
    width = config.hidden_size // config.num_attention_heads
    rows = torch.arange(config.hidden_size + 2 * width).split([config.hidden_size, width, width])
    return dict(zip("qkv", rows, strict=True))


def codegen_qkv(config: Any) -> Rows:
    """In each of four parts, made for four TPUs, its query rows, then its value rows, then its key rows (CodeGen)."""
    rows = torch.arange(3 * config.hidden_size).view(4, 3, -1)
    return {name: rows[:, i].reshape(-1) for name, i in (("q", 0), ("k", 2), ("v", 1))}


def stacked_gate_up(config: Any) -> Rows:
    """All gate rows, then as many up rows (Phi-3, GLM)."""
    width = config.intermediate_size
    rows = torch.arange(2 * width)
    return {"gate": rows[:width], "up": rows[width:]}


def shared_gate_up(config: Any) -> Rows:
    """All gate rows, then as many up rows, of the MLP that all tokens share (Granite 4)."""
    rows = torch.arange(2 * config.shared_intermediate_size)
    return {"gate": rows[: len(rows) // 2], "up": rows[len(rows) // 2 :]}


def gated_query(config: Any) -> Rows:
    """For each head its query rows, then as many rows of a gate on its output (Qwen3-Next, Qwen3.5)."""
    shape = attention_shape(config)
    rows = torch.arange(shape.heads * 2 * shape.head_width).view(shape.heads, 2, shape.head_width)
    return {"q": rows[:, 0].reshape(-1), "output_gate": rows[:, 1].reshape(-1)}


def linear_qkvz(config: Any) -> Rows:
    """For each key head of linear attention its query and key rows, then those of its value heads and their gates."""
    heads, width = config.linear_num_key_heads, config.linear_key_head_dim
    values = config.linear_num_value_heads // heads * config.linear_value_head_dim
    rows = torch.arange(heads * (2 * width + 2 * values)).view(heads, -1)
    parts = rows.split([width, width, values, values], dim=1)
    return {name: part.reshape(-1) for name, part in zip(("q", "k", "v", "output_gate"), parts, strict=True)}


def linear_qkv(config: Any) -> Rows:
    """All query rows, then all key rows, then all value rows of linear attention (Qwen3.5)."""
    keys = config.linear_num_key_heads * config.linear_key_head_dim
    rows = torch.arange(2 * keys + config.linear_num_value_heads * config.linear_value_head_dim)
    return {"q": rows[:keys], "k": rows[keys : 2 * keys], "v": rows[2 * keys :]}


LAYOUTS: dict[str, Callable[[Any], Rows]] = {
    "qkv_proj": stacked_qkv,
    "c_attn": stacked_qkv,
    "Wqkv": stacked_qkv,
    "query_key_value": interleaved_qkv,
    "gate_up_proj": stacked_gate_up,
    "in_proj_qkvz": linear_qkvz,
    "in_proj_qkv": linear_qkv,
}
"""Layout by the last part of the module's name."""
OTHER_LAYOUTS: dict[tuple[str, str], Callable[[Any], Rows]] = {
    ("query_key_value", "falcon"): falcon_qkv,
    ("qkv_proj", "codegen"): codegen_qkv,
    ("qkv_proj", "minimax"): interleaved_qkv,
    ("c_attn", "gpt_bigcode"): bigcode_qkv,
    ("input_linear", "granitemoehybrid"): shared_gate_up,
    ("input_linear", "granitemoeshared"): shared_gate_up,
    ("input_linear", "granitemoe_swa"): shared_gate_up,
    # Twice as many rows as heads are wide are no sign of a gate: head_dim may be another width, as in latent attention.
    ("q_proj", "qwen3_next"): gated_query,
    ("q_proj", "qwen3_5_text"): gated_query,
    ("q_proj", "qwen3_5_moe_text"): gated_query,
    ("q_proj", "qwen4_exp_text"): gated_query,
}
"""Layout by the last part of the module's name and ``model_type``, for models that differ from the others."""


def fused_rows(module_name: str, d_out: int, config: Any) -> Rows | None:
    """Return the rows of each submodule in the fused matrix ``module_name``, or None when it is not a known fused one.

    If the rows of the layout do not add up to ``d_out``, the layout is a different one, and the matrix is not split.
    """
    last = module_name.rpartition(".")[2]
    layout = OTHER_LAYOUTS.get((last, config.model_type), LAYOUTS.get(last))
    if layout is None:
        return None
    rows = layout(config)
    return rows if sum(len(part) for part in rows.values()) == d_out else None
