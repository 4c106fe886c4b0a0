"""The pruned checkpoint: the source's files copied, the edited tensors overwritten in the copies."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from prosafeprune.checkpoint.names import name_by_ending, stored_name
from prosafeprune.checkpoint.safetensors_file import TensorPlace, tensor_places
from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import Submodule
from prosafeprune.model.dense import matrix_shape
from prosafeprune.progress import Advance

LEFT_OUT = {".git", ".cache", "__pycache__"}
OTHER_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"}


Located = Mapping[str, tuple[str, TensorPlace]]
"""By module name, the name on disk and the place of its matrix."""


class MatrixEdit(Protocol):
    """The edit of one submodule."""

    @property
    def submodule(self) -> Submodule:
        """What it changes."""
        ...

    def apply(self, stored: torch.Tensor) -> None:
        """Make the change in a stored matrix, in place."""
        ...


AnyEdit = TypeVar("AnyEdit", bound=MatrixEdit)


class Product(Protocol):
    """What comes of an edit: something to put into the model in memory, and to write."""

    @property
    def names(self) -> list[str]:
        """Names on disk of the source's tensors that it changes."""
        ...

    @property
    def adapter_sha256(self) -> str | None:
        """The hash of an adapter's weights; None for a checkpoint."""
        ...

    def __len__(self) -> int:
        """Return how many matrices it changes."""
        ...

    def apply_in_memory(self, advance: Advance) -> None:
        """Make the model in memory what will be written."""
        ...

    def write(self, folder: Path, advance: Advance) -> None:
        """Write it into an existing empty folder, telling of each matrix."""
        ...


def locate_tensors(folder: Path, submodules: Sequence[Submodule]) -> Located:
    """Return, by module name, the name on disk and the place of each submodule's matrix.

    Call it while the model in memory still has its source weights: they are compared.

    Raises:
        InputError: a parameter that cannot be found in the checkpoint.
    """
    return locate_among(tensor_places(folder), submodules)


def locate_among(
    places: Mapping[str, TensorPlace], submodules: Sequence[Submodule]
) -> dict[str, tuple[str, TensorPlace]]:
    """Do as :func:`locate_tensors` does, among the places of some tensors by their names on disk."""
    located: dict[str, tuple[str, TensorPlace]] = {}
    for submodule in submodules:
        if submodule.module_name not in located:
            name = stored_name(submodule.parameter_name, submodule.module.weight, places)
            located[submodule.module_name] = (name, places[name])
    return located


def locate_named(folder: Path, submodules: Sequence[Submodule], names: Collection[str]) -> Located:
    """Return the same for a model that is not in memory, when it is known which of its tensors are edited.

    Raises:
        InputError: a submodule has no tensor of its shape among ``names``, or a tensor of these is not there.
    """
    places = tensor_places(folder)
    located: dict[str, tuple[str, TensorPlace]] = {}
    for submodule in submodules:
        d_out, d_in = matrix_shape(submodule.module)
        shape = (d_in, d_out) if submodule.transposed else (d_out, d_in)
        shaped = [name for name in names if name in places and places[name].shape == shape]
        name = name_by_ending(submodule.parameter_name, shaped, lambda _: True)
        if name is None:
            raise InputError(f"{submodule.parameter_name}: is none of the tensors that were edited, or not as it was.")
        located[submodule.module_name] = (name, places[name])
    return located


def by_module(edits: Sequence[AnyEdit]) -> list[tuple[str, list[AnyEdit]]]:
    """Return the edits of each stored matrix, by module name; several submodules may lie in one fused matrix."""
    ordered = sorted(edits, key=_module_name)  # keeps the submodules of a matrix in their order
    return [(name, list(group)) for name, group in groupby(ordered, key=_module_name)]


class EditedTensors:
    """The edits of a checkpoint, tensor by tensor, and the folder that they are made in."""

    adapter_sha256 = None

    def __init__(self, source: Path, located: Located, edits: Sequence[MatrixEdit]) -> None:
        self._source = source
        self._entries = [(*located[module_name], group) for module_name, group in by_module(edits)]

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> list[str]:
        """Names on disk of the tensors that change."""
        return sorted(name for name, _, _ in self._entries)

    def apply_in_memory(self, advance: Advance) -> None:
        """Put the pruned weights, as they will be on disk, into the model in memory."""
        for _, place, edits in self._entries:
            edited = _edited(place, edits)
            weight = edits[0].submodule.module.weight
            with torch.no_grad():
                weight.copy_(edited)
            advance(1)

    def write(self, folder: Path, advance: Advance) -> None:
        """Copy the source into an existing empty folder, and overwrite the edited tensors in the copy."""
        copy_checkpoint(self._source, folder)
        self.overwrite(folder, advance)

    def overwrite(self, folder: Path, advance: Advance) -> None:
        """Overwrite the edited tensors in ``folder``, a copy of the source."""
        for _, place, edits in self._entries:
            place.overwrite(_edited(place, edits), folder / place.file.name)
            advance(1)


def copy_checkpoint(source: Path, folder: Path) -> None:
    """Copy a checkpoint folder into an existing empty one; links become files.

    The same weights in another form (pickles, GGUF, a second set of safetensors) are left out: they would still be the
    unpruned model.
    """
    _copy(source, folder, {place.file for place in tensor_places(source).values()})


def copy_companions(source: Path, folder: Path) -> None:
    """Copy what :func:`copy_checkpoint` copies, but for the shards."""
    _copy(source, folder, set())


def _copy(source: Path, folder: Path, shards: set[Path]) -> None:
    def left_out(place: str, names: list[str]) -> set[str]:
        paths = [Path(place) / name for name in names]
        return {p.name for p in paths if p.name in LEFT_OUT or (p.suffix in OTHER_WEIGHTS and p not in shards)}

    shutil.copytree(source, folder, ignore=left_out, copy_function=shutil.copyfile, dirs_exist_ok=True)


def checkpoint_bytes(folder: Path) -> int:
    """Return the size of a checkpoint folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _edited(place: TensorPlace, edits: Sequence[MatrixEdit]) -> torch.Tensor:
    stored = place.read()
    for edit in edits:
        edit.apply(stored)
    return stored


def _module_name(edit: MatrixEdit) -> str:
    return edit.submodule.module_name
