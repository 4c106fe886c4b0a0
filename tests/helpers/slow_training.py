"""The training methods as their equations say: one prompt at a time, no padding, AdamW and LoRA written out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from prosafeprune.training.lora import lora

Factors = dict[str, list[torch.Tensor]]
"""By module name ``[A (rank, d_in), B (d_out, rank)]``."""


def first_factors(tiny: Any, matrices: Sequence[Any], rank: int, seed: int) -> Factors:
    """PEFT's initial factors: A drawn at random, B zero."""
    with lora(tiny.model, matrices, rank, seed) as training:
        drawn = [one.detach().clone() for one in training.parameters]
        names = list(training.layers)
    return {name: [drawn[2 * i], drawn[2 * i + 1]] for i, name in enumerate(names)}


def weights(tiny: Any, factors: Factors) -> dict[str, torch.Tensor]:
    """The model's own weights with ``B A`` added."""
    found = {}
    for name, (a, b) in factors.items():
        stored = tiny.model.get_parameter(f"{name}.weight")
        is_transposed = isinstance(tiny.model.get_submodule(name), Conv1D)
        found[f"{name}.weight"] = stored.detach() + ((b @ a).T if is_transposed else b @ a)
    return found


def run(tiny: Any, factors: Factors, ids: Sequence[int], **options: Any) -> Any:
    given = {"input_ids": torch.tensor([list(ids)]), "use_cache": False, **options}
    return functional_call(tiny.model, weights(tiny, factors), args=(), kwargs=given)


def nats_per_token(tiny: Any, factors: Factors, batch: Sequence[tuple[Sequence[int], Sequence[int]]]) -> torch.Tensor:
    """The mean over all answer tokens of a batch of (prompt, answer) of minus their log probability."""
    terms = []
    for prompt, answer in batch:
        logits = run(tiny, factors, [*prompt, *answer]).logits[0]
        for i, token in enumerate(answer):
            terms.append(-logits[len(prompt) + i - 1].log_softmax(dim=-1)[token])
    return torch.stack(terms).mean()


def anchored_nats_per_token(
    tiny: Any, factors: Factors, batch: Sequence[tuple[Sequence[int], Sequence[int], bool]]
) -> torch.Tensor:
    """The same, with ``sum p (log p - log q)`` in its place for answers marked True: p the model's without factors."""
    terms = []
    for prompt, answer, is_anchored in batch:
        ids = [*prompt, *answer]
        logits = run(tiny, factors, ids).logits[0]
        before = tiny.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].detach()
        for i, token in enumerate(answer):
            at = len(prompt) + i - 1
            q, p = logits[at].log_softmax(dim=-1), before[at].softmax(dim=-1)
            terms.append((p * (p.log() - q)).sum() if is_anchored else -q[token])
    return torch.stack(terms).mean()


def adam(
    factors: Factors,
    examples: Sequence[Any],
    loss_of: Callable[[Factors, Sequence[Any]], torch.Tensor],
    *,
    epochs: int,
    at_once: int,
    rate: float,
    seed: int,
    before_epoch: Callable[[Factors], None] | None = None,
) -> tuple[Factors, list[float]]:
    """Train with Adam as Kingma and Ba wrote it; return the factors and the losses."""
    factors = {name: [one.clone() for one in pair] for name, pair in factors.items()}
    moments = {name: [[torch.zeros_like(one), torch.zeros_like(one)] for one in pair] for name, pair in factors.items()}
    draws, losses, count = random.Random(seed), [], 0
    orders = [draws.sample(list(examples), len(examples)) for _ in range(epochs)]
    for order in orders:
        if before_epoch is not None:
            before_epoch(factors)
        for start in range(0, len(order), at_once):
            count += 1
            leaves = {name: [one.detach().requires_grad_() for one in pair] for name, pair in factors.items()}
            loss = loss_of(leaves, order[start : start + at_once])
            loss.backward()
            losses.append(float(loss.detach()))
            for name, pair in leaves.items():
                for side, leaf in enumerate(pair):
                    first, second = moments[name][side]
                    first.mul_(0.9).add_(0.1 * leaf.grad)
                    second.mul_(0.999).add_(0.001 * leaf.grad**2)
                    step = (first / (1 - 0.9**count)) / ((second / (1 - 0.999**count)).sqrt() + 1e-8)
                    factors[name][side] = leaf.detach() - rate * step
    return factors, losses


def last_state(tiny: Any, factors: Factors, ids: Sequence[int], layer: int) -> torch.Tensor:
    """What a layer puts out at the last token ``(d,)``; not the last layer, whose norm transformers adds."""
    return run(tiny, factors, ids, output_hidden_states=True).hidden_states[layer + 1][0, -1]


def projected(state: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    return (state @ direction) / (direction @ direction) * direction
