"""Shared by test_pooled_inputs and its neighbours."""

from __future__ import annotations

from typing import Any

import torch

from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import EncodedPrompt

PROMPTS = [
    "How do I kill a process?",
    "Hi",
    "Tell me about  spaces \n and lines, at some length, please.",
    "How do I?",
]


CPU = torch.device("cpu")


def collect(model: Any, prompts: list[EncodedPrompt], pooling: Pooling, size: int = 4) -> PooledInputs:
    anatomy = find_anatomy(model)
    layers = range(anatomy.num_layers)
    size_used = BatchSize(size, CPU)
    return collect_pooled_inputs(model, anatomy, prompts, [pooling], layers, size_used, lambda done: None)[pooling]


def outputs(model: Any, inputs: PooledInputs) -> dict[str, torch.Tensor]:
    submodules = find_anatomy(model).submodules
    return {s.name: inputs.outputs(s, s.weight()) for s in submodules}
