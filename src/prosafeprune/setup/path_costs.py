"""What each way of pruning a model takes in memory, disk, reads and time, from config.json and tensor headers alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from prosafeprune.model.model_files import EXPERT_COUNTS
from prosafeprune.model.shard_header import read_shard_header
from prosafeprune.model.source import text_config
from prosafeprune.setup.workload import ModelSize, Speed, Stage
from prosafeprune.streaming.needs import COPIES_OF_A_MATRIX, FLOAT32

LIBRARIES = 0.5e9
"""Bytes that Python and its libraries take."""
TOKENS_OF_A_PROMPT = 30
"""For the experts that a prompt reaches."""
DISK_SPEED = 0.33e9
"""Bytes per second that a plain copy of a checkpoint takes: 13.48 GB in 40 s (docs/large_models.md)."""
LOW_MEMORY_RATIO = 3.5
"""Time of ``--memory low`` over that of a plain copy, measured there."""
LAYER_NUMBER = re.compile(r"\.(\d+)\.")
QUANTISED_BYTES = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
"""Of a weight of a linear layer with ``--load``; in 4 bits, a block of 64 has its largest magnitude in float32."""


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model that decide what it takes."""

    size: ModelSize
    parameters: float
    """Number of weights."""
    active: float
    """Number of weights that a token passes through."""
    largest_layer: int
    """Bytes of the largest decoder layer, as stored."""
    largest_matrix: int
    """Elements of the largest matrix of a decoder layer; one expert counts as a matrix."""
    side_lengths: int
    """Sum of rows and columns of all matrices of the largest decoder layer."""
    experts: int
    """Experts of a layer; 0 for a dense model."""
    experts_reached: int
    """Experts of a layer that the tokens of a prompt reach, at most."""
    expert_inner: int
    """Width inside an expert."""
    linear: float = 0.0
    """Number of weights in the matrices of decoder layers that a quantised copy has in fewer bits; not experts'."""

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, tuple[Sequence[int], int]], config: Mapping[str, Any]) -> ModelShape:
        """Return the shape of a model from its tensors' shapes and bytes, by name, and its config.json."""
        known = {**config, **text_config(config)}
        experts = next((int(known[key]) for key in EXPERT_COUNTS if isinstance(known.get(key), int)), 0)
        chosen = int(known.get("num_experts_per_tok") or 0) if experts else 0
        share = chosen / experts if experts else 1.0
        of_layer: dict[int, list[tuple[Sequence[int], int]]] = {}
        parameters = active = linear = 0.0
        for name, (shape, size) in tensors.items():
            count = prod(shape)
            parameters += count
            active += count * (share if ".experts." in name else 1.0)
            found = LAYER_NUMBER.search(name)
            if found is not None:
                of_layer.setdefault(int(found[1]), []).append((shape, size))
                linear += count if len(shape) == 2 and ".experts." not in name else 0
        layers = list(of_layer.values()) or [list(tensors.values())]
        largest = max(layers, key=lambda one: sum(size for _, size in one))
        matrices = [tuple(shape)[-2:] for shape, _ in largest if len(shape) >= 2]
        total = sum(size for _, size in tensors.values())
        return cls(
            size=ModelSize.of_bytes(total, config),
            parameters=parameters,
            active=active,
            largest_layer=sum(size for _, size in largest),
            largest_matrix=max((prod(shape) for shape in matrices), default=0),
            side_lengths=sum(sum(shape[-2:]) * prod(shape[:-2]) for shape, _ in largest if len(shape) >= 2),
            experts=experts,
            experts_reached=min(experts, chosen * TOKENS_OF_A_PROMPT),
            expert_inner=int(known.get("moe_intermediate_size") or known.get("intermediate_size") or 0),
            linear=linear,
        )

    @classmethod
    def of_folder(cls, folder: Path, config: Mapping[str, Any]) -> ModelShape:
        """Return the shape of a checkpoint from its headers. Raises InputError when one cannot be read."""
        tensors = {
            name: (entry.shape, entry.end - entry.start)
            for file in sorted(folder.glob("*.safetensors"))
            for name, entry in read_shard_header(file).tensors.items()
        }
        return cls.of_tensors(tensors, config)

    def bytes_per_weight(self, ratio: float, load: str | None) -> float:
        """Return the bytes of the weights as they run over those on disk.

        Args:
            ratio: the same of the dtype that it runs in.
            load: ``8bit`` or ``4bit`` for a quantised copy.
        """
        if load is None:
            return ratio
        stored = self.size.weight_bytes / self.parameters
        return ratio - self.linear * (ratio * stored - QUANTISED_BYTES[load]) / self.size.weight_bytes

    def inputs(self, layers: int, prompts: int) -> float:
        """Return the bytes of the pooled inputs of ``layers`` layers."""
        hidden, inner = self.size.hidden or 0, self.size.inner or 0
        dense = 3 * hidden + (0 if self.experts else inner)
        return FLOAT32 * prompts * layers * (dense + self.experts_reached * (hidden + self.expert_inner))


@dataclass(frozen=True)
class PathCost:
    """What one way of pruning takes."""

    name: str
    memory: float
    """Bytes."""
    disk: float
    """Bytes to write."""
    read: float
    """Bytes to read, those of the disk's cache included."""
    seconds: float | None
    """None where it was not measured."""


def path_costs(
    shape: ModelShape,
    stages: Mapping[str, Iterable[Stage]],
    speed: Speed,
    *,
    prompts: int,
    layers: int,
    rank: int,
    ratio: float = 1.0,
    scoring: float = 0.0,
) -> list[PathCost]:
    """Return the cost of each way.

    Args:
        stages: the work with ``search``, and with ``layers`` given.
        ratio: bytes of a weight as it runs over those on disk.
        scoring: bytes of the logits of answers that are scored, in the ways that measure the model.
    """
    stored, run = shape.size.weight_bytes, ratio * shape.size.weight_bytes
    edit = FLOAT32 * COPIES_OF_A_MATRIX * shape.largest_matrix
    total = {name: sum(map(speed.seconds, found)) for name, found in stages.items()}
    adapter = FLOAT32 * rank * layers * shape.side_lengths
    whole = LIBRARIES + run + edit + scoring
    few, every = shape.inputs(layers, prompts), shape.inputs(shape.size.layers or 1, prompts)
    low = LIBRARIES + shape.largest_layer * (1 if ratio == 1 else 1 + ratio) + max(edit, shape.inputs(1, prompts))
    reading = sum(one.read for one in stages["layers"] if one.name == "activations") / speed.reading
    copies = {load: shape.bytes_per_weight(ratio, load) * stored for load in QUANTISED_BYTES}
    return [
        # Read: to load, to hash, and to copy into the output.
        PathCost("search, checkpoint", whole + every, stored, 3 * stored, total["search"] + 3 * stored / DISK_SPEED),
        *(
            PathCost(f"search, checkpoint, --load {load}", whole - run + copy + every, stored, 3 * stored, None)
            for load, copy in copies.items()
        ),
        PathCost(
            "given layers, checkpoint", whole + few, stored, 3 * stored, total["layers"] + 3 * stored / DISK_SPEED
        ),
        PathCost("given layers, adapter", whole + few, adapter, 2 * stored, total["layers"] + 2 * stored / DISK_SPEED),
        PathCost(
            "given layers, --memory low, not measured",
            low,
            stored,
            stored,
            LOW_MEMORY_RATIO * stored / DISK_SPEED + reading,
        ),
    ]
