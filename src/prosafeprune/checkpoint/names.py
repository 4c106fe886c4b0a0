"""Which tensor on disk a parameter in memory came from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch

from prosafeprune.checkpoint.safetensors_file import TensorPlace
from prosafeprune.errors import InputError


def stored_name(parameter_name: str, parameter: torch.Tensor, places: Mapping[str, TensorPlace]) -> str:
    """Return the name on disk of a parameter.

    Most names are equal. Where they differ (GPT-2's files leave out ``transformer.``, multimodal files put other words
    in front), the tensor meant is the only one with the longest common ending and the same shape and values.

    Raises:
        InputError: no tensor, or more than one, fits.
    """
    name = name_by_ending(parameter_name, places, lambda name: _same(parameter, places[name]))
    if name is not None:
        return name
    raise InputError(
        f"{parameter_name}: no single tensor of the checkpoint is this parameter, so it cannot be written back. "
        "Its layout on disk is not supported yet."
    )


def name_by_ending(parameter_name: str, names: Collection[str], fits: Callable[[str], bool]) -> str | None:
    """Return the only one of ``names`` that fits and shares the longest ending with a parameter's, if there is one."""
    if parameter_name in names and fits(parameter_name):
        return parameter_name
    parts = parameter_name.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    for start in range(1, numbers[0] + 1 if numbers else len(parts) - 1):  # the layer's number must be in the ending
        ending = ".".join(parts[start:])
        fitting = [name for name in names if (name == ending or name.endswith("." + ending)) and fits(name)]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _same(parameter: torch.Tensor, place: TensorPlace) -> bool:
    if tuple(parameter.shape) != place.shape:
        return False
    return bool(torch.equal(place.read().to(parameter.dtype), parameter.detach().cpu()))
