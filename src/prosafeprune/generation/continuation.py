"""Greedy continuations of raw texts, for models that have a prompt of their own in place of a chat template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from prosafeprune.generation.decoding import TokenChoice, decode_batch
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache


# torch enters the mode each time the generator goes on, and leaves it at each yield.
@torch.inference_mode()
def continue_texts(
    loaded: LoadedModel, texts: Sequence[str], max_new_tokens: int, batch_size: int | Literal["auto"]
) -> Iterator[tuple[int, str]]:
    """Yield each text's place and what the model writes after it, the longest texts first.

    The tokenizer adds its special tokens, a beginning of sequence for most, as no template has done so.

    Raises:
        InputError: out of memory with a single text or at a fixed batch size.
    """
    encoded = loaded.tokenizer(list(texts))["input_ids"]
    head = PrefixCache(loaded.model, [tuple(ids) for ids in encoded], max_new_tokens)
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True)

    def work(rows: Sequence[int]) -> Iterator[tuple[int, str]]:
        choice = TokenChoice(0.0, [""] * len(rows))
        tails = [encoded[row][head.length :] for row in rows]
        for place, ids, _ in decode_batch(loaded, tails, head, max_new_tokens, choice):
            yield rows[place], str(loaded.tokenizer.decode(ids, skip_special_tokens=True))

    yield from BatchSize(batch_size, loaded.device).stream(order, work)
