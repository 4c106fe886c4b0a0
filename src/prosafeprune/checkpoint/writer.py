"""The pruned checkpoint: the source's files copied, the edited tensors overwritten in the copies."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from prosafeprune.checkpoint.names import StoredAs, StoredNames, name_by_ending
from prosafeprune.checkpoint.safetensors_file import TensorPlace, tensor_places
from prosafeprune.editing.edits import LowRankEdit, PruningEdit
from prosafeprune.errors import InputError
from prosafeprune.model.submodule import Layout, Submodule
from prosafeprune.progress import Advance

LEFT_OUT = {".git", ".cache", "__pycache__"}
OTHER_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"}


Located = Mapping[str, StoredAs]
"""By submodule's name, where its matrix is stored."""


class WritableEdits(Protocol):
    """Edits that can be applied to the model in memory, and written."""

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
    """Return, by submodule's name, where each submodule's matrix is stored.

    Call it while the model in memory still has its source weights: they are compared.

    Raises:
        InputError: a parameter that cannot be found in the checkpoint.
    """
    return locate_among(tensor_places(folder), submodules)


def locate_among(places: Mapping[str, TensorPlace], submodules: Sequence[Submodule]) -> Located:
    """Do as :func:`locate_tensors` does, among the places of some tensors by their names on disk."""
    names = StoredNames(places)
    return {submodule.name: names.find(submodule) for submodule in submodules}


def locate_named(folder: Path, submodules: Sequence[Submodule], names: Collection[str]) -> Located:
    """Return the same for a model that is not in memory, when it is known which of its tensors are edited.

    Of linear layers alone, whose matrices lie on disk as they do in memory.

    Raises:
        InputError: a submodule has no tensor of its shape among ``names``, or a tensor of these is not there.
    """
    places = tensor_places(folder)
    located: dict[str, StoredAs] = {}
    for submodule in submodules:
        shape = tuple(submodule.stored.shape)
        shaped = [name for name in names if name in places and places[name].shape == shape]
        name = name_by_ending(submodule.parameter_name, shaped, lambda _: True)
        if name is None:
            raise InputError(f"{submodule.parameter_name}: is none of the tensors that were edited, or not as it was.")
        located[submodule.name] = StoredAs(name, places[name], submodule.layout)
    return located


class EditedTensors:
    """The edits of a checkpoint, tensor by tensor, and the folder that they are made in.

    Several submodules may lie in one tensor.
    """

    adapter_sha256 = None

    def __init__(self, source: Path, located: Located, edits: Sequence[PruningEdit | LowRankEdit]) -> None:
        if not all(isinstance(edit, PruningEdit | LowRankEdit) for edit in edits):
            raise TypeError("ablations are never written: a checkpoint is made from the edits of a plan or an adapter")
        self._source = source
        self._tensors: dict[str, _Tensor] = {}
        for edit in edits:
            stored = located[edit.submodule.name]
            tensor = self._tensors.setdefault(stored.name, _Tensor(stored.place, []))
            tensor.edits.append((edit, stored.layout))

    def __len__(self) -> int:
        return len(self._tensors)

    @property
    def names(self) -> list[str]:
        """Names on disk of the tensors that change."""
        return sorted(self._tensors)

    def apply_in_memory(self, advance: Advance) -> None:
        """Put the pruned weights, as they will be on disk, into the model in memory."""
        for tensor in self._tensors.values():
            edited = tensor.edited()
            with torch.no_grad():
                for edit, layout in tensor.edits:
                    edit.submodule.put(edit.submodule.stored, layout.take(edited))
            advance(1)

    def write(self, folder: Path, advance: Advance) -> None:
        """Copy the source into an existing empty folder, and overwrite the edited tensors in the copy."""
        copy_checkpoint(self._source, folder)
        self.overwrite(folder, advance)

    def overwrite(self, folder: Path, advance: Advance) -> None:
        """Overwrite the edited tensors in ``folder``, a copy of the source."""
        for tensor in self._tensors.values():
            tensor.place.overwrite(tensor.edited(), folder / tensor.place.file.name)
            advance(1)


@dataclass(frozen=True)
class _Tensor:
    place: TensorPlace
    edits: list[tuple[PruningEdit | LowRankEdit, Layout]]
    """The edits of what lies in it, and how each lies."""

    def edited(self) -> torch.Tensor:
        stored = self.place.read()
        for edit, layout in self.edits:
            layout.put(stored, edit.edited(layout.take(stored)))
        return stored


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
