"""A model's own forward pass, made to begin or to end at a layer, or watched as it enters layers.

Everything is undone when the context ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

Forms = dict[int, int | None]
"""What each layer returns: a tuple of so many parts, or None for a bare tensor."""


class EndReached(Exception):
    """Ends a forward pass from inside; whoever ends one catches it."""


@contextmanager
def beginning_at(layers: nn.ModuleList, start: int, states: torch.Tensor | None, forms: Forms) -> Iterator[None]:
    """Let the layers below ``start`` hand on ``states`` in place of computing anything.

    Embeddings, masks and positions stay the model's own business.
    """
    with ExitStack() as stack:
        for number in range(start):
            stack.enter_context(replaced_forward(layers[number], _hand_on(states, forms.get(number))))
        yield


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Let a module run another function in place of its own forward pass."""
    before = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:  # libraries that move weights about wrap a forward pass in the same way
            module.forward = before


@contextmanager
def ending_at(
    model: Any, layers: nn.ModuleList, last_layer: int | None, read: list[torch.Tensor], stop: bool
) -> Iterator[None]:
    """Put into ``read`` what leaves ``last_layer``, and end the pass there with :class:`EndReached`.

    Without a last layer it is what the model's head is about to read, and the pass ends there if it shall ``stop``.
    """

    def leaving(module: nn.Module, arguments: Any, output: Any) -> None:
        read.append(output[0] if isinstance(output, tuple) else output)
        raise EndReached

    def entering(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        read.append(arguments[0])
        if stop:
            raise EndReached

    if last_layer is None:
        handle = model.get_output_embeddings().register_forward_pre_hook(entering)
    else:
        handle = layers[last_layer].register_forward_hook(leaving)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def recording(layers: nn.ModuleList, wanted: Sequence[int], forms: Forms) -> Iterator[dict[int, torch.Tensor]]:
    """Give a dictionary that holds, after each pass, the states that entered each wanted layer.

    ``forms`` learns what the layers below the highest of these return.
    """
    entered: dict[int, torch.Tensor] = {}
    handles = []
    for layer in wanted:
        handles.append(layers[layer].register_forward_pre_hook(_record_entry(entered, layer), with_kwargs=True))
    for layer in range(max(wanted, default=0)):
        handles.append(layers[layer].register_forward_hook(_record_form(forms, layer)))
    try:
        yield entered
    finally:
        for handle in handles:
            handle.remove()


def _hand_on(states: Any, parts: int | None) -> Callable[..., Any]:
    def forward(*arguments: Any, **options: Any) -> Any:
        return states if parts is None else (states, *[None] * (parts - 1))

    return forward


def _record_entry(entered: dict[int, torch.Tensor], layer: int) -> Callable[..., None]:
    def hook(module: nn.Module, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        # A layer may go on in place, so that what is kept must be a copy.
        entered[layer] = (arguments[0] if arguments else options["hidden_states"]).clone()

    return hook


def _record_form(forms: Forms, layer: int) -> Callable[..., None]:
    def hook(module: nn.Module, arguments: Any, output: Any) -> None:
        forms[layer] = len(output) if isinstance(output, tuple) else None

    return hook
