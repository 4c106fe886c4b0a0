"""The pruned checkpoint: the source's files copied, the edited tensors overwritten in the copies."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from prosafeprune.checkpoint.names import StoredAs, StoredNames
from prosafeprune.checkpoint.safetensors_file import TensorPlace, tensor_places
from prosafeprune.method.plan import Edit
from prosafeprune.model.submodule import Layout, Submodule
from prosafeprune.progress import Advance

LEFT_OUT = {".git", ".cache", "__pycache__"}
OTHER_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"}


def locate_tensors(folder: Path, submodules: Sequence[Submodule]) -> dict[str, StoredAs]:
    """Return, by submodule's name, where each submodule's matrix is stored.

    Call it while the model in memory still has its source weights: they are compared.

    Raises:
        InputError: a parameter that cannot be found in the checkpoint.
    """
    names = StoredNames(tensor_places(folder))
    return {submodule.name: names.find(submodule) for submodule in submodules}


class EditedTensors:
    """The edits of a checkpoint, tensor by tensor. Several submodules may lie in one tensor."""

    def __init__(self, located: Mapping[str, StoredAs], edits: Sequence[Edit]) -> None:
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
        """Overwrite the edited tensors in ``folder``, a copy of the source."""
        for tensor in self._tensors.values():
            tensor.place.overwrite(tensor.edited(), folder / tensor.place.file.name)
            advance(1)


@dataclass(frozen=True)
class _Tensor:
    place: TensorPlace
    edits: list[tuple[Edit, Layout]]
    """The edits of what lies in it, and how each lies."""

    def edited(self) -> torch.Tensor:
        stored = self.place.read()
        for edit, layout in self.edits:
            replace(edit, submodule=replace(edit.submodule, layout=layout)).apply(stored)
        return stored


def copy_checkpoint(source: Path, folder: Path) -> None:
    """Copy a checkpoint folder into an existing empty one; links become files.

    The same weights in another form (pickles, GGUF, a second set of safetensors) are left out: they would still be the
    unpruned model.
    """
    shards = {place.file for place in tensor_places(source).values()}

    def left_out(place: str, names: list[str]) -> set[str]:
        paths = [Path(place) / name for name in names]
        return {p.name for p in paths if p.name in LEFT_OUT or (p.suffix in OTHER_WEIGHTS and p not in shards)}

    shutil.copytree(source, folder, ignore=left_out, copy_function=shutil.copyfile, dirs_exist_ok=True)


def checkpoint_bytes(folder: Path) -> int:
    """Return the size of a checkpoint folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
