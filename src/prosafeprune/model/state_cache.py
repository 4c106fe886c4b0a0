"""Cached hidden states that enter some layers, token by token, for many texts."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch

from prosafeprune.model.batches import Padding
from prosafeprune.model.storage import large_tensor

MAX_VALUES = 2**29
"""Maximum number of cached elements when more than one layer is cached."""


def affordable_layers(layers: Sequence[int], tokens: int, width: int) -> tuple[int, ...]:
    """Return the layers to cache states for: all that there is room for, the earliest and others evenly spaced."""
    if not layers:
        return ()
    count = max(1, min(len(layers), MAX_VALUES // max(1, tokens * width)))
    return tuple(layers[i * len(layers) // count] for i in range(count))


class TextStates:
    """The states of all texts at one depth of the model: ``(1, prefix, d)``, and ``(tokens, d)`` of each suffix."""

    def __init__(self, lengths: Sequence[int], padding: Padding) -> None:
        """Prepare for texts of these lengths; room is made at the first :meth:`put`.

        Args:
            lengths: tokens of each text after the shared prefix.
            padding: the side on which batches are padded.
        """
        self.prefix: torch.Tensor | None = None
        """The states ``(1, prefix, d)`` of the shared prefix."""
        self._lengths = list(lengths)
        self._starts = [0, *accumulate(lengths)]
        self._padding = padding
        self._device: torch.device | None = None
        self._cached: torch.Tensor | None = None

    def put(self, rows: Sequence[int], states: torch.Tensor) -> None:
        """Cache the padded states ``(rows, width, d)`` of some texts. Raises InputError when there is no room."""
        if self._cached is None:
            self._device = states.device  # in a model spread over several GPUs, it differs from layer to layer
            shape = (self._starts[-1], states.shape[-1])
            self._cached = large_tensor(shape, states.dtype, states.device, "hidden states")
        for i, row in enumerate(rows):
            self._cached[self._tokens(row)] = states[i, self._columns(row, states.shape[1])].to(self._cached.device)

    def padded(self, rows: Sequence[int], width: int) -> torch.Tensor:
        """Return the states ``(rows, width, d)`` of some texts on the device they came from, zeros for padding."""
        assert self._cached is not None
        states = torch.zeros(len(rows), width, self._cached.shape[1], dtype=self._cached.dtype, device=self._device)
        for i, row in enumerate(rows):
            states[i, self._columns(row, width)] = self._cached[self._tokens(row)].to(self._device)
        return states

    def _tokens(self, row: int) -> slice:
        return slice(self._starts[row], self._starts[row + 1])

    def _columns(self, row: int, width: int) -> slice:
        length = self._lengths[row]
        return slice(width - length, width) if self._padding == "left" else slice(0, length)


class StateCache:
    """The states of all texts that enter some layers; batches are padded on the left."""

    def __init__(self, layers: Sequence[int], lengths: Sequence[int]) -> None:
        self._by_layer = {layer: TextStates(lengths, "left") for layer in layers}

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers with cached states."""
        return tuple(self._by_layer)

    def put_prefix(self, entered: Mapping[int, torch.Tensor]) -> None:
        """Cache the states ``(1, prefix, d)`` that entered each layer."""
        for layer, states in self._by_layer.items():
            states.prefix = entered[layer].clone()

    def put(self, rows: Sequence[int], entered: Mapping[int, torch.Tensor]) -> None:
        """Cache the states ``(rows, width, d)`` that entered each layer. Raises InputError when there is no room."""
        for layer, states in self._by_layer.items():
            states.put(rows, entered[layer])

    def padded(self, layer: int, rows: Sequence[int], width: int) -> torch.Tensor:
        """Return the states ``(rows, width, d)`` of some texts on the device they came from."""
        return self._by_layer[layer].padded(rows, width)

    def prefix_states(self, layer: int) -> torch.Tensor:
        """Return the states ``(1, prefix, d)`` of the shared prefix."""
        prefix = self._by_layer[layer].prefix
        assert prefix is not None
        return prefix.clone()

    def clear(self) -> None:
        """Drop everything: passes then run completely."""
        self._by_layer = {}
