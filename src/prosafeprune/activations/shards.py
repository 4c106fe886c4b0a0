"""Pooled inputs of parts of the prompts, put together as if all had been run in one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from prosafeprune.activations.expert_inputs import ExpertInputs
from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat import EncodedPrompt
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Advance, ignore


@dataclass(frozen=True)
class PooledShard:
    """The pooled inputs of some prompts, in arrays that can be sent."""

    indices: Sequence[int]
    """Which of all prompts they are."""
    arrays: dict[str, np.ndarray]
    """Matrices ``(indices, d_in)``, float32, by the name of a module that reads them."""
    reads: dict[str, str]
    """For each module the name of the one whose matrix is also its own."""
    routed: dict[str, tuple[list[int], np.ndarray]]
    """For each expert's tensor the prompts that reach it, counted over all, and what it reads of them."""
    batch_sizes: tuple[int, ...]
    prefix_length: int


@dataclass(frozen=True)
class CollectShard:
    """Runs some of the prompts through a model, and pools what its matrices read."""

    prompts: Sequence[EncodedPrompt]
    pooling: Pooling
    layers: Sequence[int]
    batch_size: int | Literal["auto"]
    with_experts: bool

    def __call__(self, loaded: LoadedModel, indices: Sequence[int], advance: Advance = ignore) -> Iterator[PooledShard]:
        """Yield the part of the prompts at some indices. Raises InputError as ``collect_pooled_inputs`` does."""
        anatomy = find_anatomy(loaded.model)
        inputs = collect_pooled_inputs(
            loaded.model,
            anatomy if self.with_experts else anatomy.without_experts(),
            [self.prompts[index] for index in indices],
            self.pooling,
            self.layers,
            BatchSize(self.batch_size, loaded.device),
            advance,
        )
        yield make_shard(inputs, indices)


def make_shard(inputs: PooledInputs, indices: Sequence[int]) -> PooledShard:
    """Return pooled inputs of the prompts at some indices as a part."""
    first: dict[int, str] = {}
    reads = {name: first.setdefault(id(matrix), name) for name, matrix in inputs.by_module.items()}
    return PooledShard(
        indices,
        {name: inputs.by_module[name].numpy() for name in first.values()},
        reads,
        {
            name: ([indices[prompt] for prompt in sorted(reached)], inputs.routed.of(name).numpy())
            for name, reached in inputs.routed.prompts.items()
        },
        inputs.batch_sizes,
        inputs.prefix_length,
    )


def merge_shards(parts: Sequence[PooledShard]) -> PooledInputs:
    """Return the pooled inputs of all prompts; their batch sizes are those of one part after the other."""
    count = sum(len(part.indices) for part in parts)
    matrices = {name: torch.empty(count, array.shape[1]) for name, array in parts[0].arrays.items()}
    routed = ExpertInputs()
    for part in parts:
        for name, array in part.arrays.items():
            matrices[name][list(part.indices)] = torch.tensor(array)
        for name, (prompts, array) in part.routed.items():
            routed.add(name, prompts, torch.tensor(array))
    return PooledInputs(
        {name: matrices[read] for name, read in parts[0].reads.items()},
        tuple(size for part in parts for size in part.batch_sizes),
        parts[0].prefix_length,
        routed,
    )
