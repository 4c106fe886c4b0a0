"""Reading the prompts of a batch: in groups of like length, so that little of it is padding, then put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers.cache_utils import DynamicLayer

from prosafeprune.model.batches import PaddedBatch, accepted, last_tokens, pad_batch, run_batch
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.model.small_batch_linear import SmallBatchLinear

GROUP = 10
"""Rows read at a time: some hundred tokens already keep a processor busy."""
Watch = Callable[[Sequence[int]], None]
"""Told, before each pass over a batch, which of its rows run: for what changes some rows otherwise than others."""


def watch_nothing(rows: Sequence[int]) -> None:
    """Take no notice: for models that treat all rows alike."""


@dataclass
class Prefilled:
    """A batch whose prompts have been read."""

    cache: Any
    mask: torch.Tensor
    """``(rows, head + tokens)``: 0 where the cache holds padding."""
    positions: torch.Tensor
    """``(rows, 1)``, of each row's last token."""
    logits: torch.Tensor
    """``(rows, vocabulary)``, for the token behind the prompt."""


def prefill(
    loaded: LoadedModel, tails: Sequence[Sequence[int]], head: PrefixCache, watch: Watch = watch_nothing
) -> Prefilled:
    """Read prompts that go on after a shared head; rows of like length should lie together."""
    cache = head.cache(len(tails))
    size = GROUP if can_be_joined(cache) and loaded.device.type == "cpu" else len(tails)
    if size >= len(tails):
        watch(range(len(tails)))
        return _read(loaded, tails, head.length, cache)
    groups = []
    for start in range(0, len(tails), size):
        group = tails[start : start + size]
        watch(range(start, start + len(group)))
        groups.append(_read(loaded, group, head.length, head.cache(len(group))))
    return join(groups)


def can_be_joined(cache: Any) -> bool:
    """Tell whether batches with caches of this kind can be put together.

    Layers that keep a window, or anything but keys and values, cannot be padded afterwards.
    """
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def join(batches: Sequence[Prefilled]) -> Prefilled:
    """Put batches into one, their rows in order, padded on the left where one is narrower than the widest."""
    width = max(batch.mask.shape[1] for batch in batches)
    whole = batches[0].cache
    for number, layer in enumerate(whole.layers):
        parts = [batch.cache.layers[number] for batch in batches]
        layer.keys = torch.cat([_widened(part.keys, width, dim=2) for part in parts])
        layer.values = torch.cat([_widened(part.values, width, dim=2) for part in parts])
    return Prefilled(
        whole,
        torch.cat([_widened(batch.mask, width, dim=1) for batch in batches]),
        torch.cat([batch.positions for batch in batches]),
        torch.cat([batch.logits for batch in batches]),
    )


def step(loaded: LoadedModel, batch: PaddedBatch, mask: torch.Tensor, cache: Any) -> torch.Tensor:
    """Run some more tokens behind a cache; return the logits ``(rows, vocabulary)`` of the last one."""
    with SmallBatchLinear():
        options = accepted(loaded.model, logits_to_keep=last_tokens(1))
        logits: torch.Tensor = run_batch(loaded.model, batch, mask, cache, **options).logits[:, -1]
    return logits


def _read(loaded: LoadedModel, tails: Sequence[Sequence[int]], head: int, cache: Any) -> Prefilled:
    batch = pad_batch(tails, head, "left", loaded.device)
    logits = step(loaded, batch, batch.full_mask, cache)
    return Prefilled(cache, batch.full_mask, batch.positions[:, -1:], logits)


def _widened(tensor: torch.Tensor, width: int, dim: int) -> torch.Tensor:
    """Return the tensor with zeros in front, ``width`` places of ``dim`` in all."""
    behind = [0, 0] * (tensor.ndim - 1 - dim)
    return functional.pad(tensor, [*behind, width - tensor.shape[dim], 0])
