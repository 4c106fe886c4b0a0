"""Greedy answers from a model in memory, in batches.

The tokens that all prompts begin with are run once; prompts of like length share a batch; a row that has ended leaves
its batch, so that the rest runs faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from prosafeprune.model.batches import (
    BatchSize,
    accepted,
    attention_window,
    expand_cache,
    pad_batch,
    shared_head_length,
)
from prosafeprune.model.chat import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Advance


@dataclass(frozen=True)
class Answers:
    """Answers in the order of their prompts."""

    texts: list[str]
    batch_sizes: tuple[int, ...]
    """How many prompts ran at a time; in half precision, answers may depend on it."""


def generate_greedy(
    loaded: LoadedModel, prompts: Sequence[str], max_new_tokens: int, batch_size: BatchSize, advance: Advance
) -> Answers:
    """Return the model's greedy answer to each prompt, of at most ``max_new_tokens`` tokens.

    Raises:
        InputError: out of memory with a single prompt or at a fixed batch size.
    """
    encoded = encode_prompts(loaded.tokenizer, prompts)
    head = shared_head_length(loaded.model, [prompt.ids for prompt in encoded])
    window = attention_window(loaded.model)
    if window is not None and max(len(prompt) for prompt in encoded) + max_new_tokens > window:
        # Padding between head and tail takes up places such attention counts; without a head it lies outside.
        head = 0
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True)
    answers: list[list[int]] = [[] for _ in encoded]
    sizes: list[int] = []

    with torch.inference_mode():
        head_cache = DynamicCache(config=loaded.model.config)
        if head:
            ids = torch.tensor([encoded[0].ids[:head]], device=loaded.device)
            loaded.model(
                input_ids=ids, past_key_values=head_cache, use_cache=True, **accepted(loaded.model, logits_to_keep=1)
            )

        def work(rows: Sequence[int]) -> None:
            tails = [encoded[i].ids[head:] for i in rows]
            cache = expand_cache(head_cache, len(rows)) if head else DynamicCache(config=loaded.model.config)
            for i, answer in zip(rows, _decode(loaded, tails, head, cache, max_new_tokens), strict=True):
                answers[i] = answer

        for done in batch_size.run(order, work):
            sizes.append(done)
            advance(done)
    texts = loaded.tokenizer.batch_decode(answers, skip_special_tokens=True)
    return Answers([text.strip() for text in texts], tuple(sizes))


def _decode(
    loaded: LoadedModel, tails: Sequence[Sequence[int]], head: int, cache: DynamicCache, max_new_tokens: int
) -> list[list[int]]:
    """Decode one batch behind ``head`` cached tokens; return the new token ids of each row, without the end token."""
    batch = pad_batch(tails, head, "left", loaded.device)
    mask = torch.cat([batch.mask.new_ones(len(tails), head), batch.mask], dim=1)
    ids, positions = batch.ids, batch.positions
    ends = torch.tensor(loaded.end_ids, device=loaded.device)
    # An index, not the number 1: a slice would reach the head as a strided view, for which torch copies the head's
    # weight once a row (12 s for a batch of 32 on a 0.5 B model).
    last = torch.tensor([-1], device=loaded.device)
    rows = torch.arange(len(tails), device=loaded.device)  # which answer each remaining row writes
    answers: list[list[int]] = [[] for _ in tails]
    for _ in range(max_new_tokens):
        logits = loaded.model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **accepted(loaded.model, position_ids=positions, logits_to_keep=last),
        ).logits[:, -1]
        chosen = logits.argmax(dim=-1)
        going_on = ~torch.isin(chosen, ends)
        if not going_on.all():
            kept = going_on.nonzero().squeeze(1)
            if not len(kept):
                break
            cache.reorder_cache(kept)
            chosen, rows, mask, positions = chosen[kept], rows[kept], mask[kept], positions[kept]
        for row, token in zip(rows.tolist(), chosen.tolist(), strict=True):
            answers[row].append(token)
        ids = chosen[:, None]
        positions = positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return answers
