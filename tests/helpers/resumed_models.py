"""Shared by test_resume and its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from helpers.tiny_models import make_model, make_tokenizer
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.resume import ForcedText, ResumedModel

CPU = torch.device("cpu")


PROMPTS = ["Hi", "How do I bake bread?", "Why is the sky blue?", "Name a tree.", "A"]


ANSWERS = [(70, 71, 72), (), (80,), (90, 91, 92, 93), (70, 71)]


def tiny(architecture: str, **changes: Any) -> LoadedModel:
    model = make_model(architecture)
    for name, value in changes.items():
        setattr(model.config, name, value)
    return LoadedModel("tiny", Path(), model, make_tokenizer(), CPU, torch.float32, torch.float32, [1])


def texts_of(loaded: LoadedModel) -> list[ForcedText]:
    encoded = encode_prompts(loaded.tokenizer, PROMPTS)
    return [ForcedText(one.ids, answer) for one, answer in zip(encoded, ANSWERS, strict=True)]


def whole_pass(loaded: LoadedModel, text: ForcedText) -> tuple[torch.Tensor, torch.Tensor]:
    seen: list[torch.Tensor] = []
    handle = loaded.model.get_output_embeddings().register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad():
        logits = loaded.model(input_ids=torch.tensor([text.ids]), use_cache=False).logits[0]
    handle.remove()
    last = slice(-len(text.answer_ids) - 1, None)
    return seen[0][0, last], logits[last]


def resumed(loaded: LoadedModel, layers: list[int], size: int = 5) -> ResumedModel:
    return ResumedModel(loaded, find_anatomy(loaded.model), texts_of(loaded), layers, BatchSize(size, CPU))
