"""What each way of pruning a model takes in memory, disk, reads and time, from config.json and tensor headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from prosafeprune.setup.model_size import QUANTISED_BYTES, ModelShape
from prosafeprune.setup.run_memory import LIBRARY_BYTES, StreamedMemory, peak_memory
from prosafeprune.setup.workload import Speed, Stage
from prosafeprune.streaming.needs import FLOAT32, edit_bytes

DISK_SPEED = 0.33e9
"""Bytes per second that a plain copy of a checkpoint takes: 13.48 GB in 40 s (docs/large_models.md)."""
LOW_MEMORY_RATIO = 3.5
"""Time of ``--memory low`` over that of a plain copy, measured there."""
NO_PROMPTS = StreamedMemory()
ADAPTER_OF_EXPERTS = 2
"""At most, the size of an adapter of experts over its factors': gate and up of an expert share a parameter."""


@dataclass(frozen=True)
class Conversion:
    """What making an ordinary checkpoint of a quantised model or a GGUF takes, before the run and next to its output.

    The time of dequantising itself was not measured: writing the 16-bit copy is counted as a plain copy of it.
    """

    stored: float
    """Bytes of the model's own files, which are read."""
    memory: float
    """Bytes of the machine's memory."""
    is_gguf: bool = False

    def seconds(self, written: float) -> float:
        """Return the time, given the bytes of the 16-bit weights."""
        return written / DISK_SPEED


@dataclass(frozen=True)
class PathCost:
    """What one way of pruning takes."""

    name: str
    memory: float
    """Bytes."""
    disk: float
    """Bytes to write: the output, the 16-bit copy of a converted model, and a temporary file where a mixture's experts
    have many inputs."""
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
    streamed: StreamedMemory = NO_PROMPTS,
    on_gpu: bool = False,
    conversion: Conversion | None = None,
    takes_adapter: bool = True,
) -> list[PathCost]:
    """Return the cost of each way that the model can go.

    Args:
        shape: of the model as it runs; of a converted one, of its 16-bit form.
        stages: the work with ``search``, and with ``layers`` given.
        ratio: bytes of a weight as it runs over those on disk.
        scoring: bytes that scoring answers takes, in the ways that measure the model.
        streamed: what prompts take with ``--memory low``.
        takes_adapter: whether a LoRA adapter can hold the edits.
    """
    count = shape.size.layers or 1
    stored = shape.size.weight_bytes
    edit = edit_bytes(shape.largest_matrix)
    work = {name: sum(map(speed.seconds, found)) for name, found in stages.items()}
    disk = _Disk(stored, conversion)
    converting = conversion.memory if conversion is not None else 0.0

    def memory(kept_layers: int, bytes_per_weight: float = ratio) -> float:
        inputs, working = shape.inputs(kept_layers, prompts), max(edit, scoring)
        peak = peak_memory(bytes_per_weight * stored, stored, inputs, working, on_gpu=on_gpu)
        return peak if on_gpu else max(peak, converting)

    def row(name: str, taken: float, kept_layers: int, output: float, passes: int, worked: float | None) -> PathCost:
        written = output + disk.converted + shape.spilled_inputs(kept_layers, prompts)
        seconds = worked + disk.seconds(passes) if worked is not None else None
        return PathCost(name, taken, written, disk.read(passes), seconds)

    # Passes over the weights as they run, besides hashing: to load, and to copy into the output.
    full = "checkpoint" if conversion is None or conversion.is_gguf else "--dequantise"
    every, few = memory(count), memory(layers)
    rows = [row(f"search, {full}", every, count, stored, 2, work["search"])]
    for load in QUANTISED_BYTES:
        copied = memory(count, shape.bytes_per_weight(ratio, load))
        rows.append(row(f"search, {full}, --load {load}", copied, count, stored, 2, None))
    rows.append(row(f"given layers, {full}", few, layers, stored, 2, work["layers"]))
    if takes_adapter:
        adapter = FLOAT32 * rank * layers * shape.side_lengths * (ADAPTER_OF_EXPERTS if shape.experts else 1)
        rows.append(row("given layers, adapter", few, layers, adapter, 1, work["layers"]))
    if conversion is not None and conversion.is_gguf:
        # Edited tensors of types that cannot be written become F16. The file is copied, and read again.
        output = conversion.stored + layers * shape.largest_layer
        gguf = row("given layers, gguf", few, layers, output, 1, work["layers"])
        again = 2 * conversion.stored
        return [*rows, replace(gguf, read=gguf.read + again, seconds=work["layers"] + disk.seconds(1, again))]
    layer = shape.largest_layer * (1 if ratio == 1 else 1 + ratio)
    working = max(edit, streamed.batch) + streamed.states + shape.inputs(1, prompts)
    low = max(LIBRARY_BYTES + layer + working, converting)
    way = "given layers, --memory low" if conversion is None else f"given layers, {full}, --memory low"
    activations = sum(stage.read for stage in stages["layers"] if stage.name == "activations") / speed.reading
    by_layer = row(f"{way}, not measured", low, 1, stored, 1, None)
    in_low_memory = LOW_MEMORY_RATIO * stored / DISK_SPEED + activations
    return [
        *rows,
        # As the weights pass they are hashed; of a converted model, those of its own files are hashed apart.
        replace(by_layer, read=disk.read(1, is_hashed=False), seconds=in_low_memory + disk.seconds(0, is_hashed=False)),
        # A server loads the base model, and then the pruned one, whose files are hashed too.
        row(f"{way} --serve-with", max(low, stored), 1, stored, 4, None),
    ]


@dataclass(frozen=True)
class _Disk:
    """Reads of a run, and the time that they take."""

    stored: float
    """Bytes of the weights as they run."""
    conversion: Conversion | None

    @property
    def converted(self) -> float:
        """Bytes of the 16-bit copy."""
        return self.stored if self.conversion is not None else 0.0

    def read(self, passes: int, *, is_hashed: bool = True) -> float:
        """Return the bytes read in that many passes over the weights as they run, converting and hashing included."""
        if self.conversion is not None:
            return passes * self.stored + 2 * self.conversion.stored
        return passes * self.stored + (self.stored if is_hashed else 0.0)

    def seconds(self, passes: int, more: float = 0.0, *, is_hashed: bool = True) -> float:
        """Return the time of these reads, and of ``more`` bytes."""
        if self.conversion is not None:
            read = passes * self.stored + self.conversion.stored + more
            return read / DISK_SPEED + self.conversion.seconds(self.stored)
        return (self.read(passes, is_hashed=is_hashed) + more) / DISK_SPEED
