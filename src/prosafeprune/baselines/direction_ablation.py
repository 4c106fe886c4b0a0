"""Ablation of one direction from the residual stream of all decoder layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.residual_stream import changed_inputs, changed_outputs, writers


@contextmanager
def ablated(anatomy: Anatomy, direction: torch.Tensor) -> Iterator[None]:
    """Ablate a unit ``direction (d,)`` from the input of each layer and from the outputs of attention and MLP.

    ``x' = x - (x . r) r``, inside the context.
    """

    def ablate(states: torch.Tensor) -> torch.Tensor:
        unit = direction.to(states.device, states.dtype)
        return states - (states @ unit)[..., None] * unit

    written = dict(enumerate(writers(anatomy)))
    with changed_inputs(list(anatomy.layers), ablate), changed_outputs(written, lambda number: ablate):
        yield
