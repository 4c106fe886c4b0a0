"""Which tensors on disk the submodules in memory came from.

Most names are equal. Where they differ (GPT-2's files leave out ``transformer.``, multimodal files put other words in
front, those of mixtures of experts store each expert's matrices separately), the tensor is identified by the numbers
in its name, its shape and its values; so no table of names is needed, and none can be out of date.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from prosafeprune.checkpoint.safetensors_file import StoredTensor, stored_tensors
from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.submodule import Layout, Original, Submodule, is_quantised, multiplied

PROBES = 16
"""Number of random inputs on which a quantised matrix and a stored one are compared."""
PROBED_ROWS = 64
NEAR = 0.3
"""Largest relative difference of the outputs of equal matrices: it is 0.01 in 8 bits, 0.1 in 4, and 1.4 for others."""


@dataclass(frozen=True)
class StoredAs:
    """The tensor on disk that holds a submodule's matrix, and the matrix's layout in it."""

    name: str
    tensor: StoredTensor
    layout: Layout


class StoredNames:
    """Finds the tensors of a checkpoint, whose values the model in memory must still have."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self.tensors = tensors
        self._by_numbers: dict[tuple[int, ...], list[str]] = {}
        for name in tensors:
            self._by_numbers.setdefault(_numbers(name), []).append(name)
        self._complete: dict[str, StoredAs | None] = {}
        """For each parameter, the tensor that holds all of it, with its layout there; None if there is none."""

    def find(self, submodule: Submodule) -> StoredAs:
        """Return where a submodule's matrix is stored.

        Raises:
            InputError: no tensor, or more than one, fits.
        """
        name, layout = submodule.parameter_name, submodule.layout
        if is_quantised(submodule.stored):
            return self._find_original(submodule)
        if name not in self._complete:
            self._complete[name] = self._find_complete(name, submodule.stored)
        complete = self._complete[name]
        if complete is not None:
            turned = layout.transposed != complete.layout.transposed
            return replace(complete, layout=replace(layout, transposed=turned))
        found = self._find_matrix(submodule) if submodule.expert is not None else None
        if found is None:
            raise InputError(
                f"{submodule.name}: no single tensor of the checkpoint is this parameter, so it cannot be written "
                "back. Its layout on disk is not supported yet."
            )
        return StoredAs(found, self.tensors[found], Layout())

    def _find_original(self, submodule: Submodule) -> StoredAs:
        name = submodule.parameter_name
        fits = partial(self._is_original, submodule=submodule)
        found = name_by_ending(name, self._by_numbers.get(_numbers(name), []), fits)
        if found is None:
            raise InputError(
                f"{submodule.name}: no single tensor of the checkpoint is the matrix that this quantised one was made "
                "from, so it cannot be edited. Leave out --load."
            )
        return StoredAs(found, self.tensors[found], submodule.layout)

    def _is_original(self, name: str, submodule: Submodule) -> bool:
        if submodule.stored_shape != self.tensors[name].shape:
            return False
        inputs = torch.randn(PROBES, submodule.stored_shape[1], generator=torch.Generator().manual_seed(0))
        rows = self.tensors[name].read_rows(PROBED_ROWS).float()
        quantised = multiplied(submodule.module, inputs.to(submodule.stored.device))[:, : len(rows)]
        stored = inputs @ rows.T
        return bool((quantised.float().cpu() - stored).norm() <= NEAR * stored.norm())

    def _find_complete(self, name: str, parameter: torch.Tensor) -> StoredAs | None:
        """Return the tensor that is a parameter; for experts, also one in which each matrix is transposed."""
        for turned in (False, True) if parameter.ndim == 3 else (False,):
            values = parameter.transpose(1, 2) if turned else parameter
            candidates, fits = self._by_numbers.get(_numbers(name), []), partial(self._is, values=values)
            found = name_by_ending(name, candidates, fits)
            if found is None:
                found = _only(candidates, fits)
            if found is not None:
                return StoredAs(found, self.tensors[found], Layout(transposed=turned))
        return None

    def _find_matrix(self, submodule: Submodule) -> str | None:
        """Return the tensor that is an expert's matrix: its name holds the numbers of the layer and of the expert."""
        assert submodule.expert is not None
        numbers = (*_numbers(submodule.module_name), submodule.expert)
        weight = submodule.weight().to(submodule.stored.dtype)
        return _only(self._by_numbers.get(numbers, []), partial(self._is, values=weight))

    def _is(self, name: str, values: torch.Tensor) -> bool:
        tensor = self.tensors[name]
        if tuple(values.shape) != tensor.shape:
            return False
        return bool(torch.equal(tensor.read().to(values.dtype), values.cpu()))


def name_by_ending(parameter_name: str, names: Collection[str], fits: Callable[[str], bool]) -> str | None:
    """Return the only one of ``names`` that fits and shares the longest ending with a parameter's, if there is one."""
    if parameter_name in names and fits(parameter_name):
        return parameter_name
    parts = parameter_name.split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdigit()]
    for start in range(1, numbers[0] + 1 if numbers else len(parts) - 1):  # the layer's number must be in the ending
        ending = ".".join(parts[start:])
        fitting = [name for name in names if (name == ending or name.endswith("." + ending)) and fits(name)]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _only(names: Sequence[str], fits: Callable[[str], bool]) -> str | None:
    fitting = [name for name in names if fits(name)]
    return fitting[0] if len(fitting) == 1 else None


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdigit())


def with_originals(anatomy: Anatomy, folder: Path, dtype: torch.dtype) -> Anatomy:
    """Return the anatomy of a quantised copy with each quantised matrix's original in the checkpoint ``folder``.

    Args:
        dtype: what weights were rounded to before they were quantised.

    Raises:
        InputError: a matrix that cannot be found in the checkpoint.
    """
    names = StoredNames(stored_tensors(folder))

    def original(submodule: Submodule) -> Submodule:
        return (
            replace(submodule, original=Original(names.find(submodule).tensor.read, dtype))
            if is_quantised(submodule.stored)
            else submodule
        )

    return replace(anatomy, submodules=tuple(map(original, anatomy.submodules)))
