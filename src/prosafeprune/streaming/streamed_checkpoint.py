"""A checkpoint that is used, hashed and copied in a single read."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from prosafeprune.checkpoint.safetensors_file import DTYPES, StoredTensor, stored_tensors
from prosafeprune.errors import InputError
from prosafeprune.model.loading_checks import require_finite
from prosafeprune.model.model_hash import shard_hash
from prosafeprune.model.shard_header import ShardHeader, read_shard_header
from prosafeprune.progress import Advance

AT_ONCE = 2**24
"""Bytes read at a time of a tensor that is not held in memory."""


@dataclass(frozen=True)
class StreamedTensor(StoredTensor):
    """A tensor and where it is stored, while its layer is in memory."""

    tensor: torch.Tensor

    def read(self) -> torch.Tensor:
        """Return a copy of the tensor without reading the disk again."""
        return self.tensor.clone()


class StreamedCheckpoint:
    """The shards of a checkpoint, each tensor copied into another folder as it is read."""

    def __init__(self, folder: Path, copy: Path) -> None:
        """Begin the copies, in the existing folder ``copy``, with the shards' headers.

        Raises:
            InputError: a shard is missing, cut short or not a safetensors file.
        """
        self.stored: dict[str, StoredTensor] = stored_tensors(folder)
        """Where each tensor is stored, by its name on disk."""
        self._copy = copy
        self._hashes: dict[str, str] = {}
        self._headers: dict[Path, ShardHeader] = {}
        for file in sorted({stored.file for stored in self.stored.values()}):
            self._headers[file] = read_shard_header(file)
            (copy / file.name).write_bytes(self._headers[file].raw)

    def read(self, name: str) -> StreamedTensor:
        """Read a tensor, for the first and only time.

        Raises:
            InputError: its dtype cannot be edited, or the file has become shorter.
        """
        stored = self.stored[name]
        dtype = stored.torch_dtype
        [data] = [*self._pieces(stored, name, stored.end - stored.start)] or [torch.empty(0, dtype=torch.uint8)]
        tensor = data.view(dtype).view(stored.shape)
        return StreamedTensor(stored.file, stored.dtype, stored.shape, stored.start, stored.end, tensor)

    def read_rows(self, name: str, rows: Sequence[int]) -> torch.Tensor:
        """Read a matrix ``(n, d)`` for the first and only time, in pieces; return those ``rows`` of it, sorted.

        Raises:
            InputError: its dtype cannot be edited, or the file has become shorter.
        """
        stored = self.stored[name]
        dtype, width = stored.torch_dtype, (stored.end - stored.start) // stored.shape[0]
        at_once = max(1, AT_ONCE // width)
        wanted = torch.tensor(sorted(rows))
        kept = []
        for number, piece in enumerate(self._pieces(stored, name, at_once * width)):
            first = number * at_once
            here = wanted[(wanted >= first) & (wanted < first + at_once)] - first
            kept.append(piece.view(-1, width)[here])
        return torch.cat(kept).view(dtype)

    def finish(self, advance: Advance, finite: Collection[str]) -> None:
        """Copy what has not been read yet; ``advance`` is called after each tensor.

        Raises:
            InputError: one of the tensors named in ``finite`` holds NaN or infinite values.
        """
        for name, stored in self.stored.items():
            if name not in self._hashes:
                dtype = DTYPES.get(stored.dtype) if name in finite else None
                for piece in self._pieces(stored, name, AT_ONCE):
                    if dtype is not None:
                        require_finite([(name, piece.view(dtype))], stored.file.name)
                advance(1)

    @property
    def hashes(self) -> dict[str, str]:
        """The hash of each shard by file name, once all has been read."""
        return {
            file.name: shard_hash(header, {name: self._hashes[name] for name in header.tensors})
            for file, header in self._headers.items()
        }

    @property
    def remaining(self) -> int:
        """How many tensors have not been read yet."""
        return len(self.stored) - len(self._hashes)

    def _pieces(self, stored: StoredTensor, name: str, at_once: int) -> Iterator[torch.Tensor]:
        """Yield the bytes of a tensor in pieces, each once it has been copied."""
        digest = hashlib.sha256()
        with stored.file.open("rb") as source, (self._copy / stored.file.name).open("r+b") as copy:
            source.seek(stored.start)
            copy.seek(stored.start)
            for start in range(stored.start, stored.end, max(1, at_once)):
                piece = torch.empty(min(at_once, stored.end - start), dtype=torch.uint8)
                view = memoryview(piece.numpy().data)
                if source.readinto(view) != len(view):
                    raise InputError(f"{stored.file}: shrank while it was read. Fetch the file again.")
                copy.write(view)
                digest.update(view)
                yield piece
        self._hashes[name] = digest.hexdigest()
