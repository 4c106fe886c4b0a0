"""The pruned checkpoint: the source's files copied, the edited tensors overwritten in the copies."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import torch

from prosafeprune.checkpoint.names import stored_name
from prosafeprune.checkpoint.safetensors_file import TensorPlace, tensor_places
from prosafeprune.method.plan import Edit
from prosafeprune.model.anatomy import Submodule
from prosafeprune.progress import Advance

LEFT_OUT = {".git", ".cache", "__pycache__"}
OTHER_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"}


def locate_tensors(folder: Path, submodules: Sequence[Submodule]) -> dict[str, tuple[str, TensorPlace]]:
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


class EditedTensors:
    """The edits of a checkpoint, tensor by tensor. Several submodules may lie in one fused tensor."""

    def __init__(self, located: Mapping[str, tuple[str, TensorPlace]], edits: Sequence[Edit]) -> None:
        by_module = groupby(sorted(edits, key=_module_name), key=_module_name)
        self._entries = [(*located[module_name], list(group)) for module_name, group in by_module]

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


def _edited(place: TensorPlace, edits: Sequence[Edit]) -> torch.Tensor:
    stored = place.read()
    for edit in edits:
        edit.apply(stored)
    return stored


def _module_name(edit: Edit) -> str:
    return edit.submodule.module_name
