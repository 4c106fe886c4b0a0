"""The pruned model as a GGUF file: the base model's, with the edited tensors quantised again in their own types.

An edited tensor of a type that the gguf package cannot quantise to, such as llama.cpp's K- and I-quants, becomes F16.
All other tensors, and the metadata, are copied byte for byte.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prosafeprune.editing.edits import PruningEdit
from prosafeprune.errors import InputError
from prosafeprune.model.gguf_file import PART, RECORD_KEY, open_parts, write_gguf
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Advance


@dataclass(frozen=True)
class GgufRows:
    """Rows of a GGUF's tensor, seen as one matrix ``(rows, d_in)``, experts one below the other."""

    name: str
    rows: np.ndarray
    """For each row of the submodule's matrix, its index in the tensor."""


def dequantise_rows(data: np.ndarray, kind: Any) -> np.ndarray:
    """Return data as stored of a ``GGMLQuantizationType`` as float32 ``(rows, d_in)``."""
    from gguf.quants import dequantize

    values = dequantize(data, kind)
    return np.array(values.reshape(-1, values.shape[-1]), dtype=np.float32)  # not a view of the mapped file


class GgufRowFinder:
    """Finds submodules in the tensors of a GGUF, whose values the model in memory must still have."""

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self._layer = -1
        self._values: dict[str, np.ndarray] = {}

    def find(self, submodule: Submodule) -> GgufRows:
        """Return where a submodule's matrix is.

        Raises:
            InputError: no tensor, or more than one, holds its rows; or two of these are equal, and in another order.
        """
        weight = submodule.weight().cpu().numpy() + 0.0  # no negative zeros, which compare equal and have other bytes
        found = [
            GgufRows(name, rows)
            for name, values in self._of_layer(submodule).items()
            if (rows := _rows_of(weight, values)) is not None
        ]
        if len(found) != 1:
            raise InputError(
                f"{submodule.name}: {'no' if not found else 'more than one'} tensor of the GGUF holds this matrix, so "
                "it cannot be written back. Leave out --format gguf."
            )
        return found[0]

    def _of_layer(self, submodule: Submodule) -> Mapping[str, np.ndarray]:
        """Return the matrices of a layer as they are in memory: rounded to float16, then to the dtype it runs in."""
        layer, dtype = submodule.layer, submodule.stored.dtype
        if layer != self._layer:
            self._layer = layer
            self._values = {
                name: as_loaded(dequantise_rows(tensor.data, tensor.tensor_type), dtype).float().numpy() + 0.0
                for name, tensor in self._tensors.items()
                if name.startswith(f"blk.{layer}.") and len(tensor.shape) > 1
            }
        return self._values


def as_loaded(values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Return values as the converted model has them in memory: through float16, in ``dtype``."""
    return torch.from_numpy(values).half().to(dtype)


def _rows_of(weight: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """Return the indices in ``values`` of the rows of ``weight``: consecutive if possible, else in any order."""
    count, width = weight.shape
    if values.shape[1] != width or len(values) < count:
        return None
    firsts = np.flatnonzero((values[: len(values) - count + 1] == weight[0]).all(1))
    for first in firsts:
        if np.array_equal(values[first : first + count], weight):
            return np.arange(first, first + count)
    index = {row.tobytes(): number for number, row in enumerate(values)}
    rows = [index.get(row.tobytes()) for row in weight]
    if len(index) < len(values) or None in rows or len(set(rows)) < count:
        return None
    return np.array(rows)


TERNARY = ("TQ", "Q1")
"""Beginnings of the names of types with two or three values, which cannot hold an edited weight."""


@functools.cache
def keeps_type(kind: Any) -> bool:
    """Return whether an edited tensor of a ``GGMLQuantizationType`` is quantised to it again: where ``gguf`` can."""
    from gguf import GGML_QUANT_SIZES
    from gguf.quants import quantize

    if kind.name.startswith(TERNARY):
        return False
    try:
        quantize(np.zeros((1, GGML_QUANT_SIZES[kind][0]), dtype=np.float32), kind)
    except NotImplementedError:
        return False
    return True


class GgufEdits:
    """The edits of a GGUF's tensors. One tensor may hold several submodules.

    What is measured is what is written: memory gets the values that the quantised rows stand for, and the file is read
    again after it was written.
    """

    adapter_sha256 = None

    def __init__(self, gguf: Path, edits: Sequence[PruningEdit]) -> None:
        """Find the edited matrices in the file, while the model in memory has its base weights.

        Raises:
            InputError: a matrix is not in the file as it is in memory.
        """
        self._gguf, self._readers = gguf, open_parts(gguf)
        self._tensors = {tensor.name: tensor for reader in self._readers for tensor in reader.tensors}
        self._edits: dict[str, list[tuple[PruningEdit, GgufRows]]] = {}
        finder = GgufRowFinder(self._tensors)
        for edit in sorted(edits, key=lambda edit: edit.submodule.layer):
            rows = finder.find(edit.submodule)
            self._edits.setdefault(rows.name, []).append((edit, rows))
        self._sha256 = ""
        self.record: str | None = None
        """The record in JSON, to be stored in the file."""

    def __len__(self) -> int:
        return len(self._edits)

    @property
    def names(self) -> list[str]:
        """Names in the file of the tensors that change."""
        return sorted(self._edits)

    @property
    def sha256(self) -> str:
        """The hash of the edited tensors, known once they have been applied in memory."""
        return self._sha256

    def describe(self) -> str:
        """Return a line on the types of the edited tensors."""
        kinds = [self._tensors[name].tensor_type for name in self._edits]
        same = [kind.name for kind in kinds if keeps_type(kind)]
        other = [kind.name for kind in kinds if not keeps_type(kind)]
        kept = f" {len(same)} edited tensors keep their type ({', '.join(sorted(set(same)))})." if same else ""
        become = f" {len(other)} edited tensors ({', '.join(sorted(set(other)))}) become F16." if other else ""
        return f"GGUF:{kept}{become}"

    def apply_in_memory(self, advance: Advance) -> None:
        """Put the values of the edited tensors, as they will be stored, into the model in memory."""
        digest = hashlib.sha256()
        for name in self.names:
            data, kind = self._edited(name)
            digest.update(_hashed(name, data, kind))
            self._put_in_memory(name, dequantise_rows(data, kind))
            advance(1)
        self._sha256 = digest.hexdigest()

    @contextmanager
    def undone_in_memory(self) -> Iterator[None]:
        """Restore the base weights in memory inside the context."""
        for name in self._edits:
            tensor = self._tensors[name]
            self._put_in_memory(name, dequantise_rows(tensor.data, tensor.tensor_type))
        try:
            yield
        finally:
            for name in self._edits:
                self._put_in_memory(name, dequantise_rows(*self._edited(name)))

    def write(self, folder: Path, advance: Advance) -> None:
        """Write the file into an existing folder, and compare what was written with what was measured.

        Raises:
            InputError: they differ.
        """
        named = PART.match(self._gguf.name)
        stem = named["stem"] if named is not None else self._gguf.stem
        file = folder / f"{stem}.gguf"  # whoever looks for it looks for this ending, in lower case
        replaced = {name: self._edited(name) for name in self.names}
        write_gguf(file, self._readers, replaced, {RECORD_KEY: self.record} if self.record is not None else {})
        self._require_written(file)
        advance(len(self))

    def _edited(self, name: str) -> tuple[np.ndarray, Any]:
        """Return the data of an edited tensor as stored, and its type."""
        from gguf import GGMLQuantizationType
        from gguf.quants import quantize

        tensor = self._tensors[name]
        is_kept = keeps_type(tensor.tensor_type)
        kind = tensor.tensor_type if is_kept else GGMLQuantizationType.F16
        values = dequantise_rows(tensor.data, tensor.tensor_type)
        stored = tensor.data if is_kept else values.astype(np.float16)
        data = np.array(stored).reshape(len(values), -1)
        for edit, at in self._edits[name]:
            edited = edit.edited(torch.from_numpy(values[at.rows])).numpy()
            if not np.isfinite(edited.astype(np.float16)).all():  # the scales of quantised types are float16
                raise InputError(
                    f"{edit.submodule.name}: the pruned weights do not fit {kind.name}: some are not finite. Use a "
                    "smaller --strength or other --layers."
                )
            data[at.rows] = quantize(edited, kind)
        shape = tensor.data.shape if is_kept else (*tensor.data.shape[:-1], values.shape[1])
        return data.reshape(shape), kind

    def _put_in_memory(self, name: str, values: np.ndarray) -> None:
        with torch.no_grad():
            for edit, at in self._edits[name]:
                stored = edit.submodule.stored
                edit.submodule.put(stored, as_loaded(values[at.rows], stored.dtype))

    def _require_written(self, file: Path) -> None:
        digest = hashlib.sha256()
        [reader] = open_parts(file)
        written = {tensor.name: tensor for tensor in reader.tensors}
        for name in self.names:
            digest.update(_hashed(name, written[name].data, written[name].tensor_type))
        same = written.keys() == self._tensors.keys() and all(
            np.array_equal(written[name].data, tensor.data)
            for name, tensor in self._tensors.items()
            if name not in self._edits
        )
        if digest.hexdigest() != self._sha256 or not same:
            raise InputError(f"{file}: read back, it is not the model that was measured. Nothing was saved; try again.")


def _hashed(name: str, data: np.ndarray, kind: Any) -> bytes:
    return f"{name} {kind.name} {data.shape}\n".encode() + np.ascontiguousarray(data).tobytes()
