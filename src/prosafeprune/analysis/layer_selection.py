"""The layer and the submodule that are shown in detail."""

from __future__ import annotations

from collections.abc import Mapping

from prosafeprune.analysis.context import Context
from prosafeprune.errors import InputError
from prosafeprune.model.submodule import Submodule


def select_layer(context: Context, separability: Mapping[int, float]) -> int:
    """Return the requested layer, or the one whose classes separate best."""
    if context.request.layer is not None:
        return context.request.layer
    return max(separability, key=lambda layer: (separability[layer], -layer))


def select_submodule(context: Context, layer: int, separability: Mapping[str, float]) -> Submodule:
    """Return the requested submodule of a layer.

    In a model without a gate, the default, it is the submodule whose classes separate best.

    Raises:
        InputError: the layer does not have the submodule that was named.
    """
    submodules = context.anatomy.of_layer(layer)
    named = [submodule for submodule in submodules if submodule.kind == context.request.submodule]
    if named:
        return named[0]
    if "submodule" in context.request.model_fields_set:
        kinds = ", ".join(dict.fromkeys(submodule.kind for submodule in submodules))
        raise InputError(f"--submodule {context.request.submodule}: layer {layer} has {kinds}.")
    return max(submodules, key=lambda submodule: separability[submodule.name])
