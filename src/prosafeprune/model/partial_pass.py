"""A model's own forward pass, made to begin or to end at a layer, or recorded as it enters layers.

Everything is undone at the end of the context.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

Forms = dict[int, int | None]
"""What each layer returns: the length of a tuple, or None for a bare tensor."""


def reads_earlier_keys(model: PreTrainedModel) -> bool:
    """Return whether layers read keys and values of earlier ones (Gemma 4 E2B), without which they cannot run."""
    return bool(getattr(model.config.get_text_config(decoder=True), "num_kv_shared_layers", 0))


class EndReached(Exception):
    """Ends a forward pass from inside; caught by the code that wanted it to end."""


@contextmanager
def beginning_at(layers: nn.ModuleList, start: int, states: torch.Tensor | None, forms: Forms) -> Iterator[None]:
    """Make the layers below ``start`` return ``states`` instead of computing anything.

    Embeddings, masks and positions are still the model's own.
    """
    with ExitStack() as stack:
        for number in range(start):
            stack.enter_context(replaced_forward(layers[number], _return(states, forms.get(number))))
        yield


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Make a module run another function instead of its forward."""
    before = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:  # libraries that move weights wrap a module's forward in the same way
            module.forward = before


@contextmanager
def ending_at(
    model: PreTrainedModel, layers: nn.ModuleList, last_layer: int | None, leaving: list[torch.Tensor], stop: bool
) -> Iterator[None]:
    """Append the output of ``last_layer`` to ``leaving``, and end the pass there with :class:`EndReached`.

    Without a last layer it is the input of the LM head, and the pass ends there only if ``stop``.
    """

    def after_layer(module: nn.Module, arguments: Any, output: Any) -> None:
        leaving.append(output[0] if isinstance(output, tuple) else output)
        raise EndReached

    def before_head(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        leaving.append(arguments[0])
        if stop:
            raise EndReached

    if last_layer is None:
        handle = model.get_output_embeddings().register_forward_pre_hook(before_head)
    else:
        handle = layers[last_layer].register_forward_hook(after_layer)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def recording(layers: nn.ModuleList, wanted: Sequence[int], forms: Forms) -> Iterator[dict[int, torch.Tensor]]:
    """Yield a dictionary that holds, after each pass, the states that entered each wanted layer.

    ``forms`` is filled with what the layers below the highest of these return.
    """
    entered: dict[int, torch.Tensor] = {}
    with ExitStack() as handles:
        for layer in wanted:
            entry = _record_entry(entered, layer)
            handles.callback(layers[layer].register_forward_pre_hook(entry, with_kwargs=True).remove)
        for layer in range(max(wanted, default=0)):
            handles.callback(layers[layer].register_forward_hook(_record_form(forms, layer)).remove)
        yield entered


def _return(states: Any, parts: int | None) -> Callable[..., Any]:
    def forward(*arguments: Any, **options: Any) -> Any:
        return states if parts is None else (states, *[None] * (parts - 1))

    return forward


def _record_entry(entered: dict[int, torch.Tensor], layer: int) -> Callable[..., None]:
    def hook(module: nn.Module, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        # A copy, since a layer may change its input in place.
        entered[layer] = (arguments[0] if arguments else options["hidden_states"]).clone()

    return hook


def _record_form(forms: Forms, layer: int) -> Callable[..., None]:
    def hook(module: nn.Module, arguments: Any, output: Any) -> None:
        forms[layer] = len(output) if isinstance(output, tuple) else None

    return hook
