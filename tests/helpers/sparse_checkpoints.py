"""Checkpoints of which only config and headers are real: files of any size that take no room on the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest

BITS = {"F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "U8": 8, "F8_E4M3": 8}


def sparse_checkpoint(
    folder: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]], config: Mapping[str, Any] | None = None
) -> Path:
    """Write model.safetensors with these dtypes and shapes, its data a hole in the file, and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    header, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    raw = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        stream.truncate(8 + len(raw) + end)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def refuse_to_read_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a read of anything behind the header of a safetensors file fail."""
    plain = Path.open

    class OfHeader:
        def __init__(self, stream: Any, end: int) -> None:
            self.stream, self.end = stream, end

        def __enter__(self) -> OfHeader:
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()

        def seek(self, position: int) -> None:
            self.stream.seek(position)

        def read(self, size: int = -1) -> Any:
            assert 0 <= size <= self.end - self.stream.tell(), "the data of a tensor were read"
            return self.stream.read(size)

    def opened(path: Path, mode: str = "r", **options: Any) -> Any:
        stream = plain(path, mode, **options)
        if path.suffix != ".safetensors" or mode != "rb":
            return stream
        end = 8 + int.from_bytes(stream.read(8), "little")
        stream.seek(0)
        return OfHeader(stream, end)

    monkeypatch.setattr(Path, "open", opened)
