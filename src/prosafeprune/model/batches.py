"""Batches of prompts: sorted by length, padded, as large as memory allows; the shared head of the template run once."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

from prosafeprune.errors import InputError

Result = TypeVar("Result")
CACHEABLE_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
FIRST_BATCH = {"cpu": 32, "mps": 32, "cuda": 128}
"""Where the search for a batch size starts: beyond these, seen on real models, nothing is gained."""

LITTLE = 2**31
"""Bytes that can be taken without asking, on machines that can run a model at all."""


@dataclass(frozen=True)
class PaddedBatch:
    """Token ids, their attention mask and positions, each ``(rows, tokens)``; head tokens are not among them."""

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor


def shared_prefix_length(model: Any, prompts: Sequence[tuple[int, ...]]) -> int:
    """Return how many leading tokens all prompts share, leaving at least one token to each.

    It is 0 when the model keeps state other than keys and values, which cannot be expanded to a batch, or takes no
    positions.
    """
    config = model.config.get_text_config(decoder=True)
    kinds = getattr(config, "layer_types", None)
    if not accepted(model, position_ids=None):
        return 0  # it counts places, not tokens: padding behind a head would shift what it sees
    if len(prompts) < 2 or (kinds and not CACHEABLE_LAYERS.issuperset(kinds)) or getattr(model, "_is_stateful", False):
        return 0
    first, last = min(prompts), max(prompts)  # in dictionary order: what these two share, all share
    shared = 0
    for one, two in zip(first[:-1], last[:-1], strict=False):
        if one != two:
            break
        shared += 1
    return min(shared, min(len(prompt) for prompt in prompts) - 1)


def accepted(model: Any, **options: Any) -> dict[str, Any]:
    """Return those options that the model's forward pass names; older architectures lack some."""
    named = inspect.signature(model.forward).parameters
    return {name: value for name, value in options.items() if name in named}


def last_tokens(count: int) -> list[int]:
    """Return what ``logits_to_keep`` takes to keep the logits of the last tokens alone.

    Indices, not their number: a slice would reach the head as a strided view, for which torch copies the head's weight
    once a row (of a 1.5 B model half a gigabyte each, 15 GB for a batch of 32). And a list, no tensor: where a model is
    spread over several GPUs, tensors are brought to the first one, and what the head reads may lie on another.
    """
    return list(range(-count, 0))


def attention_window(model: Any) -> int | None:
    """Return how far back the model's narrowest attention reaches, in places of the sequence; None when all the way."""
    config = model.config.get_text_config(decoder=True)
    return getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)


def cache_bytes_per_token(model: Any) -> int:
    """Return what one token takes in the cache of keys and values, at most."""
    config = model.config.get_text_config(decoder=True)
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * config.num_hidden_layers * kept * width * model.dtype.itemsize)


def pad_batch(
    tails: Sequence[Sequence[int]], head_length: int, side: Literal["left", "right"], device: torch.device
) -> PaddedBatch:
    """Pad token sequences that follow a shared head of ``head_length`` tokens to one length.

    Positions count real tokens only, so that padding on the left does not shift them.
    """
    width = max(len(tail) for tail in tails)
    ids = torch.zeros(len(tails), width, dtype=torch.long)
    mask = torch.zeros(len(tails), width, dtype=torch.long)
    for row, tail in enumerate(tails):
        place = slice(0, len(tail)) if side == "right" else slice(width - len(tail), width)
        ids[row, place] = torch.tensor(tail)
        mask[row, place] = 1
    positions = head_length + (mask.cumsum(dim=1) - 1).clamp(min=0)
    return PaddedBatch(ids.to(device), mask.to(device), positions.to(device))


def expand_cache(head_cache: Any, rows: int) -> Any:
    """Return a copy of a cache of one row, with ``rows`` rows alike."""
    cache = copy.deepcopy(head_cache)
    cache.reorder_cache(torch.zeros(rows, dtype=torch.long))
    return cache


def fill_unrun_layers(cache: Any, num_layers: int, dummy: torch.Tensor) -> None:
    """Put ``dummy``, ``(1, 1, tokens, 1)``, for keys and values into the layers of a cache that did not run.

    Masks and positions are made for all layers by the length of one of them.
    """
    for layer in range(num_layers):
        if cache.get_seq_length(layer) == 0:
            cache.update(dummy, dummy, layer)


class BatchSize:
    """How many prompts to run at a time: a fixed number, or found by trying and backing off on out-of-memory alone."""

    def __init__(self, setting: int | Literal["auto"], device: torch.device) -> None:
        self.automatic = setting == "auto"
        self.size = FIRST_BATCH.get(device.type, 32) if setting == "auto" else int(setting)

    def grow(self, size: int, needed_bytes: int) -> None:
        """Start from a larger size, if what it needs is little: on a CPU, too much ends the process."""
        if needed_bytes <= LITTLE:
            self.size = max(self.size, size)

    def run(self, items: Sequence[int], work: Callable[[Sequence[int]], None]) -> Iterator[int]:
        """Call ``work`` on consecutive pieces of ``items``; yield the size of each piece once it is done.

        A piece that does not fit is tried again at half the size. ``work`` must leave nothing behind when it raises.

        Raises:
            InputError: out of memory at the fixed size, or with a single prompt.
        """

        def whole(piece: Sequence[int]) -> Iterator[tuple[int, int]]:
            work(piece)
            yield from ((item, len(piece)) for item in piece)

        done = 0
        for _, size in self.stream(items, whole):
            done += 1
            if done == size:
                done = 0
                yield size

    def stream(
        self, items: Sequence[int], work: Callable[[Sequence[int]], Iterator[tuple[int, Result]]]
    ) -> Iterator[tuple[int, Result]]:
        """Yield each item with its result, as ``work`` yields them for consecutive pieces of ``items``.

        Of a piece that does not fit, the items still without a result are tried again at half the size.

        Raises:
            InputError: out of memory at the fixed size, or with a single prompt.
        """
        waiting = list(items)
        while waiting:
            piece = waiting[: self.size]
            done: set[int] = set()
            try:
                for item, result in work(piece):
                    done.add(item)
                    yield item, result
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if not self.automatic or len(piece) == 1:
                    raise InputError(
                        f"Out of memory with {len(piece)} prompts at a time. Use a smaller --batch-size, another "
                        "--device or a smaller model."
                    ) from error
                self.size = len(piece) // 2
            # Outside the handler, where the failed batch's tensors are no longer held by the traceback.
            if len(done) < len(piece) and torch.cuda.is_available():
                torch.cuda.empty_cache()
            waiting = [item for item in waiting if item not in done]


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception is an allocator's, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return "DefaultCPUAllocator: can't allocate memory" in text or "MPS backend out of memory" in text
