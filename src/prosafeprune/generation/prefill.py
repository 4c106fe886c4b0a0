"""Prefill of a batch: on a CPU in groups of similar length, which wastes less on padding, then joined."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers.cache_utils import DynamicLayer

from prosafeprune.model.batches import PaddedBatch, accepted, last_tokens, pad_batch, run_batch
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache

GROUP = 10
"""Rows per group: a few hundred tokens already saturate a CPU."""
BeforePass = Callable[[Sequence[int]], None]
"""Called before each forward pass with the indices of the rows it runs, for methods that treat rows differently."""
MAX_ROWS = 96
"""Maximum rows that linear layers run transposed; with more, both ways are equally fast."""


def no_hook(rows: Sequence[int]) -> None:
    """Do nothing: for models that treat all rows alike."""


@dataclass
class PrefilledBatch:
    """A batch whose prompts are in the KV cache."""

    cache: Any
    mask: torch.Tensor
    """Attention mask ``(rows, prefix + suffix tokens)``: 0 where the cache holds padding."""
    positions: torch.Tensor
    """Position of each row's last token, ``(rows, 1)``."""
    logits: torch.Tensor
    """Logits for the first token of the answer, ``(rows, vocabulary)``."""


def prefill(
    loaded: LoadedModel, suffixes: Sequence[Sequence[int]], prefix: PrefixCache, before_pass: BeforePass = no_hook
) -> PrefilledBatch:
    """Prefill prompts given without their shared prefix; rows of similar length should be adjacent."""
    cache = prefix.cache(len(suffixes))
    size = GROUP if can_be_joined(cache) and loaded.device.type == "cpu" else len(suffixes)
    if size >= len(suffixes):
        before_pass(range(len(suffixes)))
        return _prefill_group(loaded, suffixes, prefix.length, cache)
    groups = []
    for start in range(0, len(suffixes), size):
        group = suffixes[start : start + size]
        before_pass(range(start, start + len(group)))
        groups.append(_prefill_group(loaded, group, prefix.length, prefix.cache(len(group))))
    return join(groups)


def can_be_joined(cache: Any) -> bool:
    """Return whether batches with this kind of cache can be joined.

    Sliding-window layers, and layers that hold anything but keys and values, cannot be padded after the fact.
    """
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def join(batches: Sequence[PrefilledBatch]) -> PrefilledBatch:
    """Join batches into one, rows in order, padding the narrower ones on the left."""
    width = max(batch.mask.shape[1] for batch in batches)
    joined = batches[0].cache
    for number, layer in enumerate(joined.layers):
        parts = [batch.cache.layers[number] for batch in batches]
        layer.keys = torch.cat([_left_padded(part.keys, width, dim=2) for part in parts])
        layer.values = torch.cat([_left_padded(part.values, width, dim=2) for part in parts])
    return PrefilledBatch(
        joined,
        torch.cat([_left_padded(batch.mask, width, dim=1) for batch in batches]),
        torch.cat([batch.positions for batch in batches]),
        torch.cat([batch.logits for batch in batches]),
    )


def trim(batch: PrefilledBatch, at_least: int) -> None:
    """Drop leading columns that are padding in every row, if there are ``at_least`` that many; see `can_be_joined`."""
    padding = int(batch.mask.argmax(dim=1).min())  # the first 1 of each row
    if padding < at_least or not can_be_joined(batch.cache):
        return
    batch.mask = batch.mask[:, padding:]
    for layer in batch.cache.layers:
        layer.keys, layer.values = layer.keys[:, :, padding:], layer.values[:, :, padding:]


def forward_step(loaded: LoadedModel, batch: PaddedBatch, mask: torch.Tensor, cache: Any) -> torch.Tensor:
    """Run more tokens on top of a cache and return the last one's logits ``(rows, vocabulary)``."""
    # The mode intercepts every torch function in Python, which a GPU would wait for.
    is_cpu = loaded.device.type == "cpu" and loaded.run_dtype == torch.float32
    with SmallBatchLinear() if is_cpu else nullcontext():
        # A single token needs no indices, which would be copied to a GPU at every step; 0 stands for all tokens.
        options = accepted(loaded.model, logits_to_keep=last_tokens(1) if batch.ids.shape[1] > 1 else 0)
        logits: torch.Tensor = run_batch(loaded.model, batch, mask, cache, **options).logits[:, -1]
    return logits


def _prefill_group(
    loaded: LoadedModel, suffixes: Sequence[Sequence[int]], prefix_length: int, cache: Any
) -> PrefilledBatch:
    batch = pad_batch(suffixes, prefix_length, "left", loaded.device)
    logits = forward_step(loaded, batch, batch.full_mask, cache)
    return PrefilledBatch(cache, batch.full_mask, batch.positions[:, -1:], logits)


def _left_padded(tensor: torch.Tensor, width: int, dim: int) -> torch.Tensor:
    """Return the tensor with zeros in front, so that ``dim`` has size ``width``."""
    trailing = [0, 0] * (tensor.ndim - 1 - dim)
    return functional.pad(tensor, [*trailing, width - tensor.shape[dim], 0])


class SmallBatchLinear(TorchFunctionMode):
    """Inside the context, linear layers with few float32 rows on a CPU run transposed.

    It changes no module, and results only by rounding.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one torch function, transposed if it is a linear layer with few rows."""
        if func is functional.linear and not kwargs and _has_few_rows(args[0]):
            return _linear(*args)
        return func(*args, **(kwargs or {}))


def _has_few_rows(rows: torch.Tensor) -> bool:
    is_float32_on_cpu = rows.dtype == torch.float32 and rows.device.type == "cpu"
    return bool(is_float32_on_cpu and rows.numel() <= MAX_ROWS * rows.shape[-1])


def _linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    flat = rows.reshape(-1, rows.shape[-1])
    product = torch.mm(weight, flat.t()).t().contiguous()
    if bias is not None:
        product += bias
    return product.view(*rows.shape[:-1], weight.shape[0])
