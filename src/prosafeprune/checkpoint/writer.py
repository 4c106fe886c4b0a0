"""The pruned checkpoint: the base model's files copied, the edited tensors overwritten in the copies."""

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from prosafeprune.checkpoint.names import StoredAs, StoredNames, name_by_ending
from prosafeprune.checkpoint.safetensors_file import StoredTensor, stored_tensors
from prosafeprune.editing.edits import LowRankEdit, PruningEdit
from prosafeprune.errors import InputError
from prosafeprune.files.output_names import OF_A_RUN, RECORD_FILE
from prosafeprune.model.gguf_comparison import COMPARISON_FILE
from prosafeprune.model.model_files import IGNORED_FOLDERS, INDEX, OTHER_WEIGHTS
from prosafeprune.model.quantised_copy import put_quantised
from prosafeprune.model.submodule import Layout, Submodule
from prosafeprune.progress import Advance

Located = Mapping[str, StoredAs]
"""For each submodule's name, where its matrix is stored."""


class WritableEdits(Protocol):
    """Edits that can be applied to the model in memory, and written."""

    @property
    def names(self) -> list[str]:
        """Names on disk of the tensors that change."""
        ...

    @property
    def adapter_sha256(self) -> str | None:
        """The hash of an adapter's weights; None for a checkpoint."""
        ...

    @property
    def sha256(self) -> str:
        """The hash of the changed weights, known once they have been applied in memory."""
        ...

    def __len__(self) -> int:
        """Return the number of matrices that change."""
        ...

    def apply_in_memory(self, advance: Advance) -> None:
        """Make the model in memory what will be written."""
        ...

    def undone_in_memory(self) -> AbstractContextManager[None]:
        """Restore the base weights in memory inside the context; afterwards memory has what will be written again."""
        ...

    def write(self, folder: Path, advance: Advance) -> None:
        """Write into an existing empty folder; ``advance`` is called after each matrix."""
        ...


def locate_tensors(folder: Path, submodules: Sequence[Submodule]) -> Located:
    """Return, by submodule's name, where each submodule's matrix is stored.

    Call it while the model in memory has its base weights: they are compared with those on disk.

    Raises:
        InputError: a parameter that cannot be found in the checkpoint.
    """
    return locate_among(stored_tensors(folder), submodules)


def locate_among(tensors: Mapping[str, StoredTensor], submodules: Sequence[Submodule]) -> Located:
    """Return the same from some tensors on disk, by their names on disk."""
    names = StoredNames(tensors)
    return {submodule.name: names.find(submodule) for submodule in submodules}


def locate_named(folder: Path, submodules: Sequence[Submodule], names: Collection[str]) -> Located:
    """Return the same for a model that is not in memory, given the names of its edited tensors.

    Only for linear layers, whose matrices have the same layout on disk as in memory.

    Raises:
        InputError: a submodule has no tensor of its shape among ``names``, or one of these is missing.
    """
    tensors = stored_tensors(folder)
    located: dict[str, StoredAs] = {}
    for submodule in submodules:
        shape = tuple(submodule.stored.shape)
        shaped = [name for name in names if name in tensors and tensors[name].shape == shape]
        name = name_by_ending(submodule.parameter_name, shaped, lambda _: True)
        if name is None:
            raise InputError(
                f"{submodule.parameter_name}: is not among the edited tensors, or has another shape. Make "
                "the adapter again."
            )
        located[submodule.name] = StoredAs(name, tensors[name], submodule.layout)
    return located


def zero_submodules(folder: Path, submodules: Sequence[Submodule]) -> list[Submodule]:
    """Return those submodules of a model that is not in memory in which every weight on disk is zero.

    Only for linear layers, as :func:`locate_named`.
    """
    tensors = stored_tensors(folder)
    zero = []
    for submodule in submodules:
        shape = tuple(submodule.stored.shape)
        shaped = [name for name, tensor in tensors.items() if tensor.shape == shape]
        name = name_by_ending(submodule.parameter_name, shaped, lambda _: True)
        if name is not None and not bool(submodule.take(tensors[name].read()).any()):
            zero.append(submodule)
    return zero


class EditedTensors:
    """The edits of a checkpoint's tensors. One tensor may hold several submodules."""

    adapter_sha256 = None

    def __init__(self, source: Path, located: Located, edits: Sequence[PruningEdit | LowRankEdit]) -> None:
        if not all(isinstance(edit, PruningEdit | LowRankEdit) for edit in edits):
            raise TypeError("ablations are never written: a checkpoint is made from the edits of a plan or an adapter")
        self._source = source
        self._sha256: str | None = None
        self._tensors: dict[str, _Tensor] = {}
        for edit in edits:
            stored = located[edit.submodule.name]
            tensor = self._tensors.setdefault(stored.name, _Tensor(stored.tensor, []))
            tensor.edits.append((edit, stored.layout))

    def __len__(self) -> int:
        return len(self._tensors)

    @property
    def names(self) -> list[str]:
        """Names on disk of the tensors that change."""
        return sorted(self._tensors)

    @property
    def sha256(self) -> str:
        """The hash of the edited tensors. Raises RuntimeError before they have been applied in memory."""
        if self._sha256 is None:
            raise RuntimeError("the edited tensors are hashed when they are applied in memory")
        return self._sha256

    def apply_in_memory(self, advance: Advance) -> None:
        """Put the pruned weights, rounded as on disk, into the model in memory."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._tensors.items()):
            edited = tensor.edited()
            digest.update(name.encode())
            digest.update(edited.cpu().contiguous().view(torch.uint8).numpy().tobytes())
            tensor.put_in_memory(edited)
            advance(1)
        self._sha256 = digest.hexdigest()

    @contextmanager
    def undone_in_memory(self) -> Iterator[None]:
        """Restore the base weights in memory inside the context, read from disk again so that no copy is kept."""
        for tensor in self._tensors.values():
            tensor.put_in_memory(tensor.stored.read())
        try:
            yield
        finally:
            for tensor in self._tensors.values():
                tensor.put_in_memory(tensor.edited())

    def write(self, folder: Path, advance: Advance) -> None:
        """Copy the base model into an existing empty folder, and overwrite the edited tensors in the copy."""
        copy_checkpoint(self._source, folder)
        self.overwrite(folder, advance)

    def overwrite(self, folder: Path, advance: Advance) -> None:
        """Overwrite the edited tensors in ``folder``, a copy of the base model."""
        for tensor in self._tensors.values():
            tensor.stored.overwrite(tensor.edited(), folder / tensor.stored.file.name)
            advance(1)


@dataclass(frozen=True)
class _Tensor:
    stored: StoredTensor
    edits: list[tuple[PruningEdit | LowRankEdit, Layout]]
    """The edits of its submodules, with their layouts."""

    def edited(self) -> torch.Tensor:
        values = self.stored.read()
        for edit, layout in self.edits:
            layout.put(values, edit.edited(layout.take(values)))
        if not bool(torch.isfinite(values).all()):
            raise InputError(
                f"{self.edits[0][0].submodule.name}: the pruned weights do not fit {str(values.dtype)[6:]}: some are "
                "not finite. Use a smaller --strength or other --layers."
            )
        return values

    def put_in_memory(self, values: torch.Tensor) -> None:
        submodule = self.edits[0][0].submodule
        if submodule.original is not None:  # a quantised copy of the complete tensor
            put_quantised(submodule.module, values, submodule.original.dtype)
            return
        with torch.no_grad():
            for edit, layout in self.edits:
                edit.submodule.put(edit.submodule.stored, layout.take(values))


def copy_checkpoint(source: Path, folder: Path) -> None:
    """Copy a checkpoint folder into an existing empty one; links become files.

    The same weights in another form (pickles, GGUF, a second set of safetensors) are left out: they are not pruned.
    So are record, report and answers of a base model that was pruned before.
    """
    _copy(source, folder, {tensor.file for tensor in stored_tensors(source).values()})


def copy_companions(source: Path, folder: Path) -> None:
    """Copy what :func:`copy_checkpoint` copies, except the shards."""
    _copy(source, folder, set())


def _copy(source: Path, folder: Path, shards: set[Path]) -> None:
    # An index of weights that are left out would lead loaders to files that are not there.
    index = None if (source / "model.safetensors").exists() else source / INDEX
    documents = OF_A_RUN if (source / RECORD_FILE).exists() else ()  # about another model than the one written

    def is_copied(path: Path) -> bool:
        if path.name in IGNORED_FOLDERS or (path.parent == source and path.name in {*documents, COMPARISON_FILE}):
            return False
        is_other_index = path.name.endswith(".index.json") and path != index
        return not is_other_index and (path.suffix.lower() not in OTHER_WEIGHTS or path in shards)

    # Not shutil.copytree, which also copies the modes of folders: nothing could be written into those of a model that
    # is stored read-only. It also goes on after a full disk.
    for parent, folders, files in os.walk(source, onerror=_fail):
        folders[:] = [name for name in folders if name not in IGNORED_FOLDERS]
        into = folder / Path(parent).relative_to(source)
        into.mkdir(exist_ok=True)
        for name in files:
            if is_copied(Path(parent, name)):
                shutil.copyfile(Path(parent, name), into / name)


def _fail(error: OSError) -> None:
    raise error
