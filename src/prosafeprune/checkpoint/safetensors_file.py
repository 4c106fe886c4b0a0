"""Tensors of a .safetensors file, read and overwritten in place without changing any other byte."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from prosafeprune.errors import InputError
from prosafeprune.model.stored_names import stored_entries

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor on disk: its shard, and the byte range of its data."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def torch_dtype(self) -> torch.dtype:
        """Its dtype in torch. Raises InputError when weights of that dtype cannot be edited."""
        if self.dtype not in DTYPES:
            raise InputError(
                f"{self.file.name}: weights stored as {self.dtype} cannot be edited. Give the model in another dtype."
            )
        return DTYPES[self.dtype]

    def read(self) -> torch.Tensor:
        """Return a copy of the tensor.

        Raises:
            InputError: weights of its dtype cannot be edited.
        """
        return self._read(self.shape)

    def read_rows(self, count: int) -> torch.Tensor:
        """Return a copy of the first ``count`` rows of a matrix, or of all if it has fewer. Raises as :meth:`read`."""
        return self._read((min(count, self.shape[0]), *self.shape[1:]))

    def _read(self, shape: tuple[int, ...]) -> torch.Tensor:
        dtype = self.torch_dtype
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            data = bytearray(stream.read(prod(shape) * dtype.itemsize))
        return torch.frombuffer(data, dtype=dtype).view(shape)

    def overwrite(self, tensor: torch.Tensor, file: Path) -> None:
        """Write a tensor of the same shape and dtype over its bytes in ``file``, a copy of the shard."""
        if tuple(tensor.shape) != self.shape or tensor.dtype != DTYPES[self.dtype]:
            raise ValueError(f"expected {self.dtype} {self.shape}, got {tensor.dtype} {tuple(tensor.shape)}")
        data = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        with file.open("r+b") as stream:
            stream.seek(self.start)
            stream.write(data)


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Return every tensor of a checkpoint folder, by its name on disk.

    With a shard index, only the shards it names are read: the folder may hold the same weights in another form, too.

    Raises:
        InputError: a shard is missing, cut short or not a safetensors file, or a tensor is in two of them.
    """
    return {
        name: StoredTensor(file, entry.dtype, entry.shape, entry.start, entry.end)
        for name, (file, entry) in stored_entries(folder).items()
    }
