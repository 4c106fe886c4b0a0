"""A quantised checkpoint as an ordinary one in 16 bits, written tensor by tensor."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prosafeprune.checkpoint.quantised.dequantised import DequantisedMatrix
from prosafeprune.checkpoint.quantised.formats import copied_tensors, find_layout
from prosafeprune.checkpoint.safetensors_file import DTYPES, StoredTensor
from prosafeprune.checkpoint.writer import copy_companions
from prosafeprune.errors import InputError, first_line
from prosafeprune.files.text_file import read_json_object
from prosafeprune.model.loading import dtype_name
from prosafeprune.model.model_files import INDEX, SINGLE_FILE
from prosafeprune.model.source import QUANTISATION_KEYS, quantisation_of, read_config, text_config
from prosafeprune.progress import Reporter

COPIED_AT_ONCE = 2**24
CONFIG_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
DTYPE_KEYS = ("dtype", "torch_dtype")


@dataclass(frozen=True)
class Entry:
    """A tensor of the 16-bit checkpoint."""

    name: str
    dtype: str
    content: StoredTensor | DequantisedMatrix

    @property
    def is_dequantised(self) -> bool:
        """Whether it is computed, and not copied."""
        return isinstance(self.content, DequantisedMatrix)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.content.shape

    @property
    def size(self) -> int:
        """Its bytes."""
        if isinstance(self.content, StoredTensor):
            return self.content.end - self.content.start
        return torch.Size(self.shape).numel() * DTYPES[self.dtype].itemsize


def dequantise_checkpoint(folder: Path, name: str, output: Path, reporter: Reporter) -> None:
    """Write a quantised checkpoint's 16-bit form into an existing empty folder: the same shards.

    Those without an index get the names by which models are loaded: a quantised file may have any.

    Matrices have the dtype that config.json names, bfloat16 if it names none; all other tensors are copied byte for
    byte. The quantisation is taken out of the config. One matrix is in memory at a time.

    Raises:
        InputError: the format cannot be read, a matrix does not fit the dtype, or the disk is full.
    """
    shards = _shards(folder, name)
    method = quantisation_of(read_config(folder, name))
    try:
        copy_companions(folder, output)
        _write_config(output)
        with reporter.stage(f"Dequantising ({method})", sum(map(len, shards.values()))) as advance:
            for file, entries in shards.items():
                with (output / file).open("xb") as stream:
                    stream.write(_header(entries))
                    for entry in entries:
                        for data in _content(entry, name):
                            stream.write(data)
                        advance(1)
        _write_index(output, shards)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{output}: {name} could not be dequantised there ({reason}). Free some space.") from error
    matrices = sum(entry.is_dequantised for entries in shards.values() for entry in entries)
    reporter.note(f"{matrices} matrices, quantised by {method}, are dequantised.")


def dequantised_bytes(folder: Path, name: str) -> int:
    """Return the disk space of the 16-bit weights. Raises InputError when the format cannot be read."""
    return sum(entry.size for entry in dequantised_entries(folder, name))


def dequantised_entries(folder: Path, name: str) -> list[Entry]:
    """Return the tensors that the 16-bit checkpoint will hold. Raises InputError when the format cannot be read."""
    return [entry for entries in _shards(folder, name).values() for entry in entries]


def dequantised_dtype(folder: Path, name: str) -> torch.dtype:
    """Return the dtype of the dequantised matrices."""
    return DTYPES[_dtype(read_config(folder, name))]


def _shards(folder: Path, name: str) -> dict[str, list[Entry]]:
    """Return what each shard will hold, by its file name."""
    dtype = _dtype(read_config(folder, name))
    tensors, layout = find_layout(folder, name)
    entries = [Entry(key, tensor.dtype, tensor) for key, tensor in copied_tensors(tensors, layout).items()]
    entries += [Entry(key, dtype, matrix) for key, matrix in layout.matrices.items()]
    shards: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (_stored(entry).file.name, _stored(entry).start)):
        shards.setdefault(_stored(entry).file.name, []).append(entry)
    return shards if (folder / INDEX).exists() else _renamed(shards)


def _renamed(shards: dict[str, list[Entry]]) -> dict[str, list[Entry]]:
    """Return the shards by the names that transformers gives them."""
    if len(shards) == 1:
        return {SINGLE_FILE: next(iter(shards.values()))}
    named = enumerate(shards.values(), 1)
    return {f"model-{number:05}-of-{len(shards):05}.safetensors": entries for number, entries in named}


def _stored(entry: Entry) -> StoredTensor:
    return entry.content if isinstance(entry.content, StoredTensor) else entry.content.stored


def _dtype(config: dict[str, Any]) -> str:
    for settings in (config, text_config(config)):
        named = settings.get("dtype", settings.get("torch_dtype"))
        if named in CONFIG_DTYPES:
            return CONFIG_DTYPES[named]
    return "BF16"


def _header(entries: Iterable[Entry]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in entries:
        start, end = end, end + entry.size
        header[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [start, end]}
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw


def _content(entry: Entry, name: str) -> Iterable[bytes]:
    if isinstance(entry.content, StoredTensor):
        with entry.content.file.open("rb") as stream:
            stream.seek(entry.content.start)
            left = entry.size
            while left:
                data = stream.read(min(left, COPIED_AT_ONCE))
                if not data:
                    raise InputError(f"{entry.content.file}: shrank while it was read. Fetch the file again.")
                left -= len(data)
                yield data
        return
    try:
        values = entry.content.read().to(DTYPES[entry.dtype])
    except (RuntimeError, IndexError, ValueError) as error:
        raise InputError(
            f"{name}: {entry.name} cannot be dequantised ({first_line(error)}). Fetch it again."
        ) from error
    if not bool(torch.isfinite(values).all()):
        raise InputError(
            f"{name}: {entry.name} holds values that are not finite when it is dequantised. Fetch the model again."
        )
    yield values.contiguous().view(torch.uint8).numpy().tobytes()


def _write_config(folder: Path) -> None:
    config = read_json_object(folder / "config.json", "model config")
    dtype = dtype_name(DTYPES[_dtype(config)])
    for settings in (config, text_config(config)):
        for key in QUANTISATION_KEYS:
            settings.pop(key, None)
        for key in DTYPE_KEYS:
            if key in settings and settings[key] not in CONFIG_DTYPES:  # in float8_e4m3fn nothing can be loaded
                settings[key] = dtype
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for left in ("quantize_config.json", "quant_config.json", "hf_quant_config.json"):
        (folder / left).unlink(missing_ok=True)


def _write_index(folder: Path, shards: dict[str, list[Entry]]) -> None:
    if len(shards) == 1 and not (folder / INDEX).exists():
        return
    index = {
        "metadata": {"total_size": sum(entry.size for entries in shards.values() for entry in entries)},
        "weight_map": {entry.name: file for file, entries in shards.items() for entry in entries},
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
