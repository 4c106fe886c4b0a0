"""Pooled inputs of shards of the prompts, merged as if all prompts had been run in one process."""

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
from prosafeprune.model.chat_template import EncodedPrompt
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Advance, ignore


@dataclass(frozen=True)
class PooledShard:
    """The pooled inputs of some prompts, as numpy arrays that can be sent to another process."""

    indices: Sequence[int]
    """The prompts' indices among all prompts."""
    arrays: dict[str, np.ndarray]
    """Matrices ``(prompts, d_in)``, float32, by the name of a module that reads them."""
    reads: dict[str, str]
    """The name under which each module's matrix is stored; modules that read one tensor share it."""
    routed: dict[str, tuple[list[int], np.ndarray]]
    """The indices of the prompts that reach each expert's input, and their rows."""
    batch_sizes: tuple[int, ...]
    prefix_length: int


@dataclass(frozen=True)
class CollectShard:
    """Runs some of the prompts through a model and pools the inputs of its submodules."""

    prompts: Sequence[EncodedPrompt]
    poolings: Sequence[Pooling]
    layers: Sequence[int]
    batch_size: int | Literal["auto"]
    with_experts: bool

    def __call__(
        self, loaded: LoadedModel, indices: Sequence[int], advance: Advance = ignore
    ) -> Iterator[dict[Pooling, PooledShard]]:
        """Yield the shard, by pooling, of the prompts at these indices.

        Raises:
            InputError: as ``collect_pooled_inputs`` does.
        """
        anatomy = find_anatomy(loaded.model)
        inputs = collect_pooled_inputs(
            loaded.model,
            anatomy if self.with_experts else anatomy.without_experts(),
            [self.prompts[index] for index in indices],
            self.poolings,
            self.layers,
            BatchSize(self.batch_size, loaded.device),
            advance,
        )
        yield {pooling: make_shard(pooled, indices) for pooling, pooled in inputs.items()}


def make_shard(inputs: PooledInputs, indices: Sequence[int]) -> PooledShard:
    """Return the pooled inputs of the prompts at these indices as a shard."""
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


def merge_shards(shards: Sequence[PooledShard]) -> PooledInputs:
    """Return the pooled inputs of all prompts; batch sizes are concatenated in the order of the shards."""
    count = sum(len(shard.indices) for shard in shards)
    matrices = {name: torch.empty(count, array.shape[1]) for name, array in shards[0].arrays.items()}
    routed = ExpertInputs()
    for shard in shards:
        for name, array in shard.arrays.items():
            matrices[name][list(shard.indices)] = torch.tensor(array)
        for name, (prompts, array) in shard.routed.items():
            routed.add(name, prompts, torch.tensor(array))
    return PooledInputs(
        {name: matrices[read] for name, read in shards[0].reads.items()},
        tuple(size for shard in shards for size in shard.batch_sizes),
        shards[0].prefix_length,
        routed,
    )
