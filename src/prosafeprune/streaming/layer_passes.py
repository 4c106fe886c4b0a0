"""All prompts advance through the model one layer at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from prosafeprune.activations.pooled_inputs import Segment
from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.chat_template import EncodedPrompt
from prosafeprune.model.partial_pass import Forms, beginning_at, reads_earlier_keys
from prosafeprune.model.prefix_cache import shared_prefix_length
from prosafeprune.model.state_cache import TextStates
from prosafeprune.streaming.meta_model import MetaModel


class LayerPasses:
    """Runs all prompts through one layer after another; the output of a layer is cached until the next one runs.

    In every pass the model's own forward stays in charge of embeddings, masks and positions, so that each layer gets
    its own kind of mask; the layers below return the cached states.
    """

    def __init__(self, meta: MetaModel, anatomy: Anatomy, prompts: Sequence[EncodedPrompt]) -> None:
        _require_one_stream(meta)
        self.anatomy = anatomy
        prefix = shared_prefix_length(meta.model, [prompt.ids for prompt in prompts], "right")
        self._states = TextStates([len(prompt) - prefix for prompt in prompts], "right")
        self._forms: Forms = {}

    def segment(self, layer: int) -> Segment:
        """Return the segment that runs this layer only; all layers below it must have run before."""

        @contextmanager
        def around(rows: Sequence[int] | None, width: int) -> Iterator[None]:
            entering = self._entering(rows, width) if layer else None
            left: list[torch.Tensor] = []
            # Before any other hook, since one of them ends the pass.
            handle = self.anatomy.layers[layer].register_forward_hook(self._catch(layer, left), prepend=True)
            try:
                with beginning_at(self.anatomy.layers, layer, entering, self._forms):
                    yield
            finally:
                handle.remove()
            self._put(rows, left[0])

        return Segment(layer, around)

    def _entering(self, rows: Sequence[int] | None, width: int) -> torch.Tensor:
        if rows is not None:
            return self._states.padded(rows, width)
        assert self._states.prefix is not None
        return self._states.prefix.clone()

    def _put(self, rows: Sequence[int] | None, states: torch.Tensor) -> None:
        if rows is None:
            self._states.prefix = states.clone()
        else:
            self._states.put(rows, states)

    def _catch(self, layer: int, left: list[torch.Tensor]) -> Any:
        def hook(module: torch.nn.Module, arguments: Any, output: Any) -> None:
            parts = output if isinstance(output, tuple) else (output,)
            if any(part is not None for part in parts[1:]) or parts[0].ndim != 3:
                raise InputError(
                    f"{type(module).__name__}: passes on more than hidden states, which --memory low does not support. "
                    "Leave --memory low out, on a machine with more memory."
                )
            self._forms[layer] = len(output) if isinstance(output, tuple) else None
            left.append(parts[0])

        return hook


def _require_one_stream(meta: MetaModel) -> None:
    if reads_earlier_keys(meta.model):
        raise InputError(
            f"{meta.name}: its layers share keys and values, so they cannot be run one at a time. Leave "
            "--memory low out, on a machine with more memory."
        )
