"""Keys and values of answers that ended, so that the next turn of a conversation runs only what is new in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel

from prosafeprune.generation.prefill import PrefilledBatch, can_be_joined
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.serving.corrections import Applied
from prosafeprune.serving.running_answer import Question

WORTH_IT = 64
"""Minimum number of cached tokens for which a separate prefill pays off."""


@dataclass(frozen=True, eq=False)
class _Kept:
    applied: Applied | None
    ids: tuple[int, ...]
    layers: list[tuple[torch.Tensor, torch.Tensor]]
    """Keys and values of each layer, ``(1, heads, tokens, width)``."""


class KeptConversations:
    """The last conversations, ``most_tokens`` tokens together at most; empty for caches that cannot be joined."""

    def __init__(self, model: PreTrainedModel, most_tokens: int) -> None:
        self._model, self._most_tokens = model, most_tokens
        self._kept: list[_Kept] = []
        """Kept conversations, the last used one at the end."""

    def forget(self) -> None:
        """Drop all of them."""
        self._kept.clear()

    def keep(self, question: Question, answer: Sequence[int], batch: PrefilledBatch, row: int) -> None:
        """Keep a row of a batch: a question, and those tokens of its answer that have run."""
        if not can_be_joined(batch.cache):
            return
        ran, width = int(batch.mask[row].sum()), batch.mask.shape[1]
        ids, columns = (*question.ids, *answer)[:ran], slice(width - ran, width)  # padding is on the left
        layers = [
            (layer.keys[row : row + 1, :, columns].clone(), layer.values[row : row + 1, :, columns].clone())
            for layer in batch.cache.layers
        ]
        applied = question.applied
        self._kept = [old for old in self._kept if not (_same(old.applied, applied) and ids[: len(old.ids)] == old.ids)]
        self._kept.append(_Kept(applied, ids, layers))
        while sum(len(kept.ids) for kept in self._kept) > self._most_tokens:
            self._kept.pop(0)

    def beginning_of(self, question: Question) -> PrefixCache | None:
        """Return the keys and values of a question's first tokens, as far as they are kept and worth using."""
        known = [
            (_shared(kept.ids, question.ids), kept) for kept in self._kept if _same(kept.applied, question.applied)
        ]
        length, found = max(known, key=lambda pair: pair[0], default=(0, None))
        if found is None or length < WORTH_IT:
            return None
        self._kept.remove(found)
        self._kept.append(found)
        cache = DynamicCache(config=self._model.config)
        for number, (keys, values) in enumerate(found.layers):
            cache.update(keys[:, :, :length], values[:, :, :length], number)
        return PrefixCache.holding(self._model, cache, length)


def _shared(kept: Sequence[int], asked: Sequence[int]) -> int:
    """Return how many leading tokens are the same, leaving one to run."""
    most = min(len(kept), len(asked) - 1)
    return next((i for i in range(most) if kept[i] != asked[i]), most)


def _same(applied: Applied | None, other: Applied | None) -> bool:
    """Return whether tokens have the same keys and values under both edits."""
    first, second = _strengths(applied), _strengths(other)
    if first != second:
        return False
    return not first or (applied is not None and other is not None and applied.edit is other.edit)


def _strengths(applied: Applied | None) -> dict[int, float]:
    return {} if applied is None else {layer: strength for layer, strength in applied.strengths.items() if strength}
