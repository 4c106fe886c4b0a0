"""What each way of pruning a model takes in memory, disk, reads and time, from config.json and tensor headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prosafeprune.setup.model_size import QUANTISED_BYTES, ModelShape
from prosafeprune.setup.run_memory import LIBRARY_BYTES, peak_memory
from prosafeprune.setup.workload import Speed, Stage
from prosafeprune.streaming.needs import COPIES_OF_A_MATRIX, FLOAT32

DISK_SPEED = 0.33e9
"""Bytes per second that a plain copy of a checkpoint takes: 13.48 GB in 40 s (docs/large_models.md)."""
LOW_MEMORY_RATIO = 3.5
"""Time of ``--memory low`` over that of a plain copy, measured there."""


@dataclass(frozen=True)
class PathCost:
    """What one way of pruning takes."""

    name: str
    memory: float
    """Bytes."""
    disk: float
    """Bytes to write: the output, and a temporary file where a mixture's experts have many inputs."""
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
    on_gpu: bool = False,
) -> list[PathCost]:
    """Return the cost of each way.

    Args:
        stages: the work with ``search``, and with ``layers`` given.
        ratio: bytes of a weight as it runs over those on disk.
        scoring: bytes that scoring answers takes, in the ways that measure the model.
    """
    stored = shape.size.weight_bytes
    edit = FLOAT32 * COPIES_OF_A_MATRIX * shape.largest_matrix
    total = {name: sum(map(speed.seconds, found)) for name, found in stages.items()}
    adapter = FLOAT32 * rank * layers * shape.side_lengths

    def memory(kept_layers: int, bytes_per_weight: float = ratio) -> float:
        inputs, working = shape.inputs(kept_layers, prompts), max(edit, scoring)
        return peak_memory(bytes_per_weight * stored, stored, inputs, working, on_gpu=on_gpu)

    count = shape.size.layers or 1
    every, few, copying = memory(count), memory(layers), stored / DISK_SPEED
    spilled = {kept_layers: shape.spilled_inputs(kept_layers, prompts) for kept_layers in (count, layers, 1)}
    copies = {load: memory(count, shape.bytes_per_weight(ratio, load)) for load in QUANTISED_BYTES}
    low = LIBRARY_BYTES + shape.largest_layer * (1 if ratio == 1 else 1 + ratio) + max(edit, shape.inputs(1, prompts))
    reading = sum(stage.read for stage in stages["layers"] if stage.name == "activations") / speed.reading
    in_low_memory = LOW_MEMORY_RATIO * copying + reading
    searched, given = stored + spilled[count], stored + spilled[layers]
    return [
        # Read: to load, to hash, and to copy into the output.
        PathCost("search, checkpoint", every, searched, 3 * stored, total["search"] + 3 * copying),
        *(PathCost(f"search, checkpoint, --load {load}", copies[load], searched, 3 * stored, None) for load in copies),
        PathCost("given layers, checkpoint", few, given, 3 * stored, total["layers"] + 3 * copying),
        PathCost("given layers, adapter", few, adapter + spilled[layers], 2 * stored, total["layers"] + 2 * copying),
        PathCost("given layers, --memory low, not measured", low, stored + spilled[1], stored, in_low_memory),
    ]
