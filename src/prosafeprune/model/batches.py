"""Batches of prompts: padded to one length, as large as memory allows."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from transformers import PreTrainedModel

from prosafeprune.errors import InputError
from prosafeprune.model.fused import config_of_layer

Result = TypeVar("Result")
Padding = Literal["left", "right"]
FIRST_BATCH = {"cpu": 32, "mps": 32, "cuda": 128}
"""Initial batch size; larger ones gained nothing on real models."""

OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What errors say that come from allocators with no exception of their own."""
LITTLE_MEMORY = 2**31
"""Bytes of memory assumed to be free on any machine that can run a model."""


@dataclass(frozen=True)
class PaddedBatch:
    """Token ids, their attention mask and positions, each ``(rows, tokens)``, without the tokens of a cached prefix."""

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    prefix_length: int = 0

    @property
    def full_mask(self) -> torch.Tensor:
        """The mask of the cached prefix and the tokens, ``(rows, prefix + tokens)``."""
        return torch.cat([self.mask.new_ones(len(self.mask), self.prefix_length), self.mask], dim=1)


def accepted(model: PreTrainedModel, **options: Any) -> dict[str, Any]:
    """Return those options that the model's forward pass names; older architectures lack some."""
    named = _named_by(model)
    return {name: value for name, value in options.items() if name in named}


def cache_option(model: PreTrainedModel, cache: Any) -> dict[str, Any]:
    """Return a KV cache as the keyword argument of the model's forward pass.

    transformers 5.24 renamed ``past_key_values`` to ``cache`` in the models of the library.
    """
    named = _named_by(model)
    return {"cache" if "cache" in named and "past_key_values" not in named else "past_key_values": cache}


def takes_cache(model: PreTrainedModel) -> bool:
    """Return whether a model keeps what it has read in a KV cache; Mamba, RWKV and xLSTM have other states."""
    return not {"cache", "past_key_values"}.isdisjoint(_named_by(model))


def _named_by(model: PreTrainedModel) -> Collection[str]:
    method = getattr(model.forward, "__func__", None)  # None where a library has put a function in its place
    return inspect.signature(model.forward).parameters if method is None else _parameter_names(method)


@functools.cache  # asked for at every decoded token
def _parameter_names(forward: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(forward).parameters)


def last_tokens(count: int) -> list[int]:
    """Return the value of ``logits_to_keep`` that keeps the logits of the last tokens only.

    Indices rather than their number: a slice would reach the LM head as a strided view, for which torch copies the
    head's weight once per row (half a gigabyte each for a 1.5 B model, 15 GB for a batch of 32). And a list rather than
    a tensor: in a model spread over several GPUs, tensors are moved to the first one, and the head may be on another.
    """
    return list(range(-count, 0))


def cache_bytes_per_token(model: PreTrainedModel) -> int:
    """Return an upper bound of what one token takes in the KV cache, in bytes."""
    config = model.config.get_text_config(decoder=True)
    total = 0
    for layer in range(config.num_hidden_layers):
        own = config_of_layer(config, layer)
        width = getattr(own, "head_dim", None) or own.hidden_size // own.num_attention_heads
        total += 2 * width * (getattr(own, "num_key_value_heads", None) or own.num_attention_heads)
    return int(total * model.dtype.itemsize)


def pad_batch(
    suffixes: Sequence[Sequence[int]], prefix_length: int, side: Padding, device: torch.device
) -> PaddedBatch:
    """Pad token sequences that follow a prefix of ``prefix_length`` tokens to one length.

    Positions count real tokens only, so padding on the left does not shift them.
    """
    width = max(map(len, suffixes))
    ids = torch.zeros(len(suffixes), width, dtype=torch.long)
    mask = torch.zeros(len(suffixes), width, dtype=torch.long)
    for row, suffix in enumerate(suffixes):
        columns = slice(0, len(suffix)) if side == "right" else slice(width - len(suffix), width)
        ids[row, columns] = torch.tensor(suffix)
        mask[row, columns] = 1
    positions = prefix_length + (mask.cumsum(dim=1) - 1).clamp(min=0)
    return PaddedBatch(ids.to(device), mask.to(device), positions.to(device), prefix_length)


def run_batch(model: PreTrainedModel, batch: PaddedBatch, mask: torch.Tensor, cache: Any, **options: Any) -> Any:
    """Run a padded batch after what is in a KV cache; return the model's output.

    Args:
        batch: the tokens to run.
        mask: of the cached tokens and these, ``(rows, cached + tokens)``.
        cache: keys and values of the cached tokens, which these are added to; None to keep none.
    """
    return model(
        input_ids=batch.ids,
        attention_mask=mask,
        use_cache=cache is not None,
        **cache_option(model, cache),
        **accepted(model, position_ids=batch.positions),
        **options,
    )


class BatchSize:
    """How many prompts to run at a time: a fixed number, or one that is halved whenever memory runs out."""

    def __init__(self, setting: int | Literal["auto"], device: torch.device) -> None:
        self.automatic = setting == "auto"
        self.size = FIRST_BATCH.get(device.type, 32) if setting == "auto" else int(setting)

    def grow(self, size: int, needed_bytes: int) -> None:
        """Start with a larger size if it needs little memory: on a CPU, running out ends the process."""
        if needed_bytes <= LITTLE_MEMORY:
            self.size = max(self.size, size)

    def cap(self, size: int) -> None:
        """Start with at most this size, and at least 1, unless the size is fixed."""
        if self.automatic:
            self.size = min(self.size, max(1, size))

    def run(self, items: Sequence[int], work: Callable[[Sequence[int]], None]) -> Iterator[int]:
        """Call ``work`` on consecutive batches of ``items``; yield the size of each batch once it is done.

        A batch that does not fit is tried again at half the size. ``work`` must have no effect when it raises.

        Raises:
            InputError: out of memory at the fixed size, or with a single prompt.
        """

        def all_at_once(batch: Sequence[int]) -> Iterator[tuple[int, int]]:
            work(batch)
            yield from ((item, len(batch)) for item in batch)

        done = 0
        for _, size in self.stream(items, all_at_once):
            done += 1
            if done == size:
                done = 0
                yield size

    def stream(
        self, items: Sequence[int], work: Callable[[Sequence[int]], Iterator[tuple[int, Result]]]
    ) -> Iterator[tuple[int, Result]]:
        """Yield each item with its result, as ``work`` yields them for consecutive batches of ``items``.

        When a batch does not fit, its items without a result are tried again at half the size.

        Raises:
            InputError: out of memory at the fixed size, or with a single prompt.
        """
        waiting = list(items)
        while waiting:
            batch = waiting[: self.size]
            done: set[int] = set()
            try:
                for item, result in work(batch):
                    done.add(item)
                    yield item, result
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if not self.automatic or len(batch) == 1:
                    raise InputError(
                        f"Out of memory with {len(batch)} prompts at a time. Use a smaller --batch-size, another "
                        "--device or a smaller model."
                    ) from error
                self.size = len(batch) // 2
            # Outside the handler, where the traceback no longer holds the failed batch's tensors.
            if len(done) < len(batch) and torch.cuda.is_available():
                torch.cuda.empty_cache()
            waiting = [item for item in waiting if item not in done]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return any(words in text for words in OUT_OF_MEMORY)
