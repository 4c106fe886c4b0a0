"""A short LoRA fine-tune, in memory, that teaches a model to refuse: simulated excessive alignment (section 5.2).

The refusals are the model's own, so only their use is new to it. The result is a list of edits, applied and undone like
any others; the adapter is removed when the tuning ends.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from prosafeprune.editing.edits import LowRankEdit
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import accepted, last_tokens, pad_batch
from prosafeprune.model.chat import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.submodule import Submodule, layout_of
from prosafeprune.progress import Advance

ADAPTER = "refusal"


class Tuning(BaseModel):
    """Hyperparameters, sized for a CPU."""

    model_config = ConfigDict(frozen=True)

    epochs: int = Field(default=3, ge=1)
    rank: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    batch_size: int = Field(default=8, ge=1)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Example:
    """A prompt and its target answer, as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    """Including the end token."""


@dataclass(frozen=True)
class Tuned:
    """The learned edits and the training losses."""

    edits: list[LowRankEdit]
    losses: list[float]
    """Mean loss of each epoch, in nats per token of the refusals, before the step of each batch."""


def make_examples(loaded: LoadedModel, prompts: Sequence[str], answers: Sequence[str]) -> list[Example]:
    """Pair prompts with answers, which are cycled if there are fewer; at least one is needed."""
    encoded = encode_prompts(loaded.tokenizer, prompts)
    ids = loaded.tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    end = loaded.end_ids[:1]
    return [Example(prompt.ids, (*ids[i % len(ids)], *end)) for i, prompt in enumerate(encoded)]


def tune(loaded: LoadedModel, anatomy: Anatomy, examples: Sequence[Example], tuning: Tuning, advance: Advance) -> Tuned:
    """Fine-tune low-rank additions to every submodule's matrix on the examples' answers.

    The model is left unchanged, bit for bit and in its structure.

    Args:
        loaded: the model, with the weights to tune.
        anatomy: its submodules.
        examples: at least one.
        tuning: the hyperparameters.
        advance: called after each batch with its number of examples.
    """
    draws = random.Random(tuning.seed)
    losses = []
    matrices = _stored_matrices(anatomy)
    with _adapter(loaded.model, matrices, tuning) as layers:
        parameters = [matrix for layer in layers.values() for matrix in _factors(layer)]
        optimizer = torch.optim.AdamW(parameters, lr=tuning.learning_rate, weight_decay=0.0)
        for _ in range(tuning.epochs):
            order = draws.sample(list(examples), len(examples))
            epoch = []
            for start in range(0, len(order), tuning.batch_size):
                batch = order[start : start + tuning.batch_size]
                optimizer.zero_grad()
                with torch.enable_grad():
                    loss = answer_loss(loaded, batch)
                    loss.backward()
                optimizer.step()
                epoch.append((float(loss.detach()), len(batch)))
                advance(len(batch))
            losses.append(sum(value * count for value, count in epoch) / len(order))
        return Tuned([_learned(submodule, layers[submodule.module_name]) for submodule in matrices], losses)


def answer_loss(loaded: LoadedModel, examples: Sequence[Example]) -> torch.Tensor:
    """Return the mean cross entropy of the examples' answers, in nats per token."""
    model = loaded.model
    batch = pad_batch([[*one.prompt, *one.answer] for one in examples], 0, "left", loaded.device)
    longest = max(len(one.answer) for one in examples)
    width = batch.ids.shape[1]
    # With left padding the answers of all rows end together; logits are computed at their positions only.
    answers = last_tokens(longest + 1)[:-1]
    options = accepted(model, position_ids=batch.positions, logits_to_keep=answers)
    logits = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False, **options).logits
    if "logits_to_keep" not in options:
        logits = logits[:, answers]
    targets = batch.ids[:, width - longest :].clone()
    for row, one in enumerate(examples):
        targets[row, : longest - len(one.answer)] = -100
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100)


@contextmanager
def _adapter(model: Any, matrices: Sequence[Submodule], tuning: Tuning) -> Iterator[Mapping[str, Any]]:
    """Add a new LoRA adapter to the matrices, give its layers by module name, and remove it."""
    from peft import LoraConfig, LoraModel

    names = {one.module_name for one in matrices}
    config = LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.rank,
        lora_dropout=0.0,
        target_modules=sorted(names),
        fan_in_fan_out=any(one.transposed for one in matrices),
    )
    trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    training = model.training
    with torch.random.fork_rng():
        torch.manual_seed(tuning.seed)
        adapted = LoraModel(model, config, ADAPTER)
    try:
        model.eval()  # no dropout
        layers = {name: module for name, module in model.named_modules() if name in names}
        for layer in layers.values():  # half precision would lose small steps
            layer.lora_A.float(), layer.lora_B.float()
        yield layers
    finally:
        adapted.unload()
        model.train(training)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trainable[name])
            parameter.grad = None


def _factors(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight


def _learned(submodule: Submodule, layer: Any) -> LowRankEdit:
    a, b = (factor.detach().float().clone() for factor in _factors(layer))
    return LowRankEdit(submodule, LowRankChange(layer.scaling[ADAPTER] * b, a))


def _stored_matrices(anatomy: Anatomy) -> list[Submodule]:
    """Return every stored matrix once, also one that fuses several submodules."""
    whole = {one.module_name: replace(one, layout=layout_of(one.module)) for one in anatomy.submodules}
    return list(whole.values())
