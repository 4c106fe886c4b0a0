"""The header of a .safetensors file: which tensors it holds, and where."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError, first_line
from prosafeprune.text import first_repeat

MAX_HEADER_BYTES = 100_000_000
"""Largest header that the safetensors format allows."""
BITS = {
    **{"F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16},
    **{"U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8},
}
"""Bits of a number of each dtype; of others, how many bytes a tensor takes is not checked."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor in the header; its data are the bytes of the file from ``start`` up to ``end``."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class ShardHeader:
    """The first bytes of a shard, raw and parsed."""

    raw: bytes
    tensors: dict[str, TensorEntry]


def read_shard_header(file: Path) -> ShardHeader:
    """Read the header of a shard. Raises InputError when the shard is truncated or not a safetensors file."""
    try:
        raw = _read_raw(file)
        return ShardHeader(raw, _entries(raw, file.stat().st_size))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = first_line(error)[:200]
        raise InputError(f"{file}: cannot be read as safetensors ({reason}). Fetch the file again.") from error


def _read_raw(file: Path) -> bytes:
    if not file.is_file():
        raise ValueError("it is missing, or not a regular file")
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = int.from_bytes(prefix, "little")
        if length > min(file.stat().st_size - 8, MAX_HEADER_BYTES):
            raise ValueError("the header is truncated")
        return prefix + stream.read(length)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; readers do not agree on which of two entries of one name counts."""
    twice = first_repeat(name for name, _ in pairs)
    if twice is not None:
        raise ValueError(f"{twice[:80]} is duplicated")
    return dict(pairs)


def _entries(raw: bytes, file_size: int) -> dict[str, TensorEntry]:
    tensors = {}
    for name, entry in json.loads(raw[8:], object_pairs_hook=_unique).items():
        if name == "__metadata__":
            continue
        if not all(type(offset) is int for offset in entry["data_offsets"]):
            raise ValueError(f"the data offsets of {name} are no integers")
        start, end = (len(raw) + offset for offset in entry["data_offsets"])
        if not len(raw) <= start <= end:
            raise ValueError(f"the data of {name} overlap the header or end before they start")
        if end > file_size:
            raise ValueError(f"the data of {name} are truncated")
        shape = tuple(entry["shape"])
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"{name} has an invalid shape")
        dtype = str(entry["dtype"])
        if dtype in BITS and math.prod(shape) * BITS[dtype] != 8 * (end - start):
            raise ValueError(f"the data of {name} do not have the size of its shape")
        tensors[name] = TensorEntry(dtype, shape, start, end)
    _require_filled(tensors, len(raw), file_size)
    return tensors


def _require_filled(tensors: dict[str, TensorEntry], start: int, end: int) -> None:
    """Raise ValueError unless the tensors fill the file one after the other, as the format demands of every file."""
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != start:
            raise ValueError(f"the data of {name} do not start where those before them end")
        start = entry.end
    if start != end:
        raise ValueError(f"{end - start} bytes after the last tensor belong to none")
