"""Which layer and which submodule are shown closely."""

from __future__ import annotations

from collections.abc import Mapping

from prosafeprune.analysis.context import Context
from prosafeprune.errors import InputError
from prosafeprune.model.submodule import Submodule


def chosen_layer(context: Context, separability: Mapping[int, float]) -> int:
    """Return the layer that the request names; without one, that whose classes separate best."""
    if context.request.layer is not None:
        return context.request.layer
    return max(separability, key=lambda layer: (separability[layer], -layer))


def chosen_submodule(context: Context, layer: int, separability: Mapping[str, float]) -> Submodule:
    """Return the submodule of a layer that the request names.

    Models that have no gate are shown at the submodule whose classes separate best, unless another was asked for.

    Raises:
        InputError: the layer has no such submodule.
    """
    there = context.anatomy.of_layer(layer)
    named = [submodule for submodule in there if submodule.kind == context.request.submodule]
    if named:
        return named[0]
    if "submodule" in context.request.model_fields_set:
        kinds = ", ".join(dict.fromkeys(submodule.kind for submodule in there))
        raise InputError(f"--submodule {context.request.submodule}: layer {layer} has {kinds}.")
    return max(there, key=lambda submodule: separability[submodule.name])
