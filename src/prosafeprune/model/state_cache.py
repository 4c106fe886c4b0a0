"""Hidden states that enter some layers, kept token by token for many texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal

import torch

from prosafeprune.model.storage import large_tensor

MOST_VALUES = 2**29
"""Values kept in all, at most, when more than one layer is kept."""


def affordable_layers(layers: Sequence[int], tokens: int, width: int) -> tuple[int, ...]:
    """Return the layers to keep states for: all, or as many as there is room for, the earliest and others evenly."""
    if not layers:
        return ()
    count = max(1, min(len(layers), MOST_VALUES // max(1, tokens * width)))
    return tuple(layers[place * len(layers) // count] for place in range(count))


class TextStates:
    """The states ``(tokens, d)`` of all texts, behind their shared head, at one place of the model; and the head's."""

    def __init__(self, lengths: Sequence[int], padding: Literal["left", "right"]) -> None:
        """Make room, once it is known how wide the states are.

        Args:
            lengths: tokens of each text behind the shared head.
            padding: on which side batches are padded.
        """
        self.head: torch.Tensor | None = None
        """The states ``(1, head, d)`` of the shared head."""
        self._lengths = list(lengths)
        self._starts = [0, *accumulate(lengths)]
        self._padding = padding
        self._device: torch.device | None = None
        self._kept: torch.Tensor | None = None

    def put(self, rows: Sequence[int], states: torch.Tensor) -> None:
        """Keep the padded states ``(rows, width, d)`` of some texts. Raises InputError when there is no room."""
        if self._kept is None:
            self._device = states.device  # of a model that is spread over several GPUs, it is not the same everywhere
            shape = (self._starts[-1], states.shape[-1])
            self._kept = large_tensor(shape, states.dtype, states.device, "hidden states")
        for place, row in enumerate(rows):
            self._kept[self._place(row)] = states[place, self._inside(row, states.shape[1])].to(self._kept.device)

    def padded(self, rows: Sequence[int], width: int) -> torch.Tensor:
        """Return the states of some texts as ``(rows, width, d)`` where they came from, zeros for padding."""
        assert self._kept is not None
        states = torch.zeros(len(rows), width, self._kept.shape[1], dtype=self._kept.dtype, device=self._device)
        for place, row in enumerate(rows):
            states[place, self._inside(row, width)] = self._kept[self._place(row)].to(self._device)
        return states

    def _place(self, row: int) -> slice:
        return slice(self._starts[row], self._starts[row + 1])

    def _inside(self, row: int, width: int) -> slice:
        length = self._lengths[row]
        return slice(width - length, width) if self._padding == "left" else slice(0, length)


class StateCache:
    """The states of all texts that enter some layers, batches being padded on the left."""

    def __init__(self, layers: Sequence[int], lengths: Sequence[int]) -> None:
        self._by_layer = {layer: TextStates(lengths, "left") for layer in layers}

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers whose states are kept."""
        return tuple(self._by_layer)

    def put_head(self, entered: Mapping[int, torch.Tensor]) -> None:
        """Keep the states ``(1, head, d)`` that entered each layer."""
        for layer, states in self._by_layer.items():
            states.head = entered[layer].clone()

    def put(self, rows: Sequence[int], entered: Mapping[int, torch.Tensor]) -> None:
        """Keep the states ``(rows, width, d)`` that entered each layer. Raises InputError when there is no room."""
        for layer, states in self._by_layer.items():
            states.put(rows, entered[layer])

    def padded(self, layer: int, rows: Sequence[int], width: int) -> torch.Tensor:
        """Return the states of some texts as ``(rows, width, d)`` where they came from."""
        return self._by_layer[layer].padded(rows, width)

    def head_states(self, layer: int) -> torch.Tensor:
        """Return the states ``(1, head, d)`` of the shared head."""
        head = self._by_layer[layer].head
        assert head is not None
        return head.clone()

    def forget(self) -> None:
        """Drop everything: passes then run whole."""
        self._by_layer = {}
