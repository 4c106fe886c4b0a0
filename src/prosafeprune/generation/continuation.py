"""Greedy continuation of raw text, for models with their own prompt format instead of a chat template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from prosafeprune.generation.decoding import TokenChoice, decode_batch
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache


# On a generator function, torch enters inference mode at each resumption and leaves it at each yield.
@torch.inference_mode()
def continue_texts(
    loaded: LoadedModel, texts: Sequence[str], max_new_tokens: int, batch_size: int | Literal["auto"]
) -> Iterator[tuple[int, str]]:
    """Yield the index of each text with the model's continuation, longest texts first.

    The tokenizer adds its special tokens (usually BOS), since no chat template has.

    Raises:
        InputError: out of memory with a single text or at a fixed batch size.
    """
    encoded = loaded.tokenizer(list(texts))["input_ids"]
    prefix = PrefixCache(loaded.model, [tuple(ids) for ids in encoded], max_new_tokens)
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True)

    def continue_batch(indices: Sequence[int]) -> Iterator[tuple[int, str]]:
        choice = TokenChoice(0.0, [""] * len(indices))
        suffixes = [encoded[index][prefix.length :] for index in indices]
        for row, ids, _ in decode_batch(loaded, suffixes, prefix, max_new_tokens, choice):
            yield indices[row], str(loaded.tokenizer.decode(ids, skip_special_tokens=True))

    yield from BatchSize(batch_size, loaded.device).stream(order, continue_batch)
