"""Changing the residual stream of the decoder layers while a model runs, by hooks that are removed with the context."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from prosafeprune.model.anatomy import Anatomy

Change = Callable[[torch.Tensor], torch.Tensor]
"""Returns new states ``(rows, tokens, d)`` given the present ones, which it must not change in place."""
WRITING_KINDS = {"o", "down", "w2", "linear_out", "per_layer_projection"}
"""Kinds of matrices that write to the residual stream. LFM2 calls that of its MLP ``w2``, RecurrentGemma that of its
recurrent block ``linear_out``, and Gemma 4 has a further one in each layer."""


@contextmanager
def changed_inputs(modules: list[nn.Module], change: Change) -> Iterator[None]:
    """Apply ``change`` to the hidden states that each module reads."""

    def hook(module: nn.Module, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        if arguments:
            return (change(arguments[0]), *arguments[1:]), options
        return arguments, {**options, "hidden_states": change(options["hidden_states"])}

    with ExitStack() as handles:
        for module in modules:
            handles.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


@contextmanager
def changed_outputs(modules: Mapping[int, nn.Module], changes: Callable[[int], Change]) -> Iterator[None]:
    """Apply ``changes(number)`` to the output of each module, a tensor or the first of a tuple."""

    def hook_of(number: int) -> Callable[..., Any]:
        change = changes(number)

        def hook(module: nn.Module, arguments: Any, output: Any) -> Any:
            return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

        return hook

    with ExitStack() as handles:
        for number, module in modules.items():
            handles.callback(module.register_forward_hook(hook_of(number)).remove)
        yield


def writers(anatomy: Anatomy) -> list[nn.Module]:
    """Return the modules of all layers whose outputs are added to the residual stream: attention and MLP.

    They are the children of a layer that contain matrices; of matrices that are children themselves, those that write.
    """
    kinds = {submodule.module: submodule.kind for submodule in anatomy.submodules}
    found: list[nn.Module] = []
    for layer in anatomy.layers:
        for part in layer.children():
            if isinstance(part, nn.Linear | Conv1D):
                if kinds.get(part) in WRITING_KINDS:
                    found.append(part)
            elif any(parameter.ndim > 1 for parameter in part.parameters()):
                found.append(part)
    return found
