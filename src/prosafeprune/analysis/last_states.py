"""The residual stream after every layer at the last prompt token, where the answer begins."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import EncodedPrompt
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.partial_pass import Forms, beginning_at
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.progress import Advance, ignore


@dataclass(frozen=True)
class LastStates:
    """The output of each layer at the last prompt token."""

    states: torch.Tensor
    """States ``(layers, prompts, d)`` in the model's dtype, on the CPU; prompts in the given order."""
    forms: Forms
    """What each layer returns, for passes in which it only passes states on."""


@torch.inference_mode()
def collect_last_states(
    loaded: LoadedModel,
    anatomy: Anatomy,
    prompts: Sequence[EncodedPrompt],
    batch_size: BatchSize,
    advance: Advance = ignore,
) -> LastStates:
    """Run the prompts once and keep the output of every layer at their last token.

    Raises:
        InputError: a state is not finite, or out of memory.
    """
    prefix = PrefixCache(loaded.model, [prompt.ids for prompt in prompts], 0)
    # Longest first: too little memory shows at once, and the rows of a batch have similar lengths.
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]), reverse=True)
    forms: Forms = {}
    kept: list[torch.Tensor] = []

    def run(rows: Sequence[int]) -> None:
        with _last_outputs(anatomy, forms) as outputs:
            prefix.run([prompts[row].ids[prefix.length :] for row in rows])
        states = torch.stack([outputs[layer] for layer in range(anatomy.num_layers)])
        if not kept:
            kept.append(states.new_empty(states.shape[0], len(prompts), states.shape[2]))
        kept[0][:, list(rows)] = states

    for done in batch_size.run(order, run):
        advance(done)
    if not torch.isfinite(kept[0]).all():
        raise InputError(f"{loaded.name}: hidden states are not finite. Use --dtype float32 or bfloat16.")
    return LastStates(kept[0], forms)


# On a generator, torch enters inference mode at each resumption and leaves it at each yield.
@torch.inference_mode()
def unembed(
    loaded: LoadedModel, anatomy: Anatomy, last: LastStates, layer: int, batch_size: BatchSize
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield each prompt's row and the logits ``(vocabulary,)`` that the model computes from a layer's output.

    The forward pass runs with all layers passing the states on, so that everything between the last layer and the
    logits (a norm, scaling, soft caps) is applied too.

    Raises:
        InputError: out of memory.
    """

    def run(rows: Sequence[int]) -> Iterator[tuple[int, torch.Tensor]]:
        states = last.states[layer, list(rows)].unsqueeze(1).to(loaded.device)
        ids = torch.zeros(len(rows), 1, dtype=torch.long, device=loaded.device)
        with beginning_at(anatomy.layers, anatomy.num_layers, states, last.forms):
            logits = loaded.model(input_ids=ids, use_cache=False).logits[:, -1]
        yield from zip(rows, logits, strict=True)

    yield from batch_size.stream(range(last.states.shape[1]), run)


@contextmanager
def _last_outputs(anatomy: Anatomy, forms: Forms) -> Iterator[dict[int, torch.Tensor]]:
    """Yield a dictionary that holds, after a pass, each layer's output at the last position, ``(rows, d)``."""
    outputs: dict[int, torch.Tensor] = {}

    def hook(layer: int) -> Callable[..., None]:
        def keep(module: Any, arguments: Any, output: Any) -> None:
            forms[layer] = len(output) if isinstance(output, tuple) else None
            outputs[layer] = (output[0] if isinstance(output, tuple) else output)[:, -1].to("cpu", copy=True)

        return keep

    with ExitStack() as handles:
        for number, layer in enumerate(anatomy.layers):
            handles.callback(layer.register_forward_hook(hook(number)).remove)
        yield outputs
