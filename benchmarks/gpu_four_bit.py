"""What ``gpu.py`` measures of a model whose matrices are in 4 bits, as ``--load 4bit`` has them."""

from __future__ import annotations

from typing import Any

import bitsandbytes
import torch
from gpu_parts import ModelBenchmark
from torch import nn

from prosafeprune.model.anatomy import find_anatomy


def quantise_layers(model: nn.Module, dtype: torch.dtype, device: torch.device) -> int:
    """Replace the linear layers by 4-bit ones (NF4), except the output head, and return how many."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    found = [(name, one) for name, one in model.named_modules() if isinstance(one, nn.Linear) and one is not head]
    for name, linear in found:
        made = bitsandbytes.nn.Linear4bit(
            linear.in_features, linear.out_features, linear.bias is not None, compute_dtype=dtype, quant_type="nf4"
        )
        made.weight = bitsandbytes.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
        made.bias = linear.bias
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, made.to(device))  # which quantises it
    return len(found)


def four_bit(one: ModelBenchmark, batch: int, count: int) -> dict[str, Any]:
    """Quantise the model, and measure activations, answers and memory; it cannot be measured in 16 bits afterwards."""
    matrices = quantise_layers(one.model, one.loaded.run_dtype, one.device)
    one.anatomy = find_anatomy(one.model)  # of the new modules
    one.collect(one.options.batch)
    _, seconds, memory = one.measured(one.collect)
    return {
        "matrices": matrices,
        "activations": {
            "seconds": round(seconds, 3),
            "tokens_per_second": round(sum(map(len, one.encoded)) / seconds),
            "peak_gb": memory,
        },
        "answers": one.answers(batch, count),
    }
