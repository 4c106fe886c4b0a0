"""Pooling over a prompt's tokens, as weights that sum to one (section 3.2, "sequence pooling")."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # recipes name a pooling, and must be readable without waiting for torch
    import torch

    from prosafeprune.model.chat import EncodedPrompt


class Pooling(StrEnum):
    """Which tokens of the rendered prompt are averaged."""

    SEQUENCE = "sequence"
    """All tokens, the template's included: the paper's mean pooling."""
    TAIL = "tail"
    """From the user's first word to the end: the user's words and what the template writes after them."""
    USER = "user"
    """The user's own words."""
    LAST = "last"
    """The last token, from which the answer begins."""


def token_weights(prompt: EncodedPrompt, pooling: Pooling) -> torch.Tensor:
    """Return the weight of each token, ``(tokens,)``, float32, summing to 1."""
    import torch

    start, end = {
        Pooling.SEQUENCE: (0, len(prompt)),
        Pooling.TAIL: (prompt.user_start, len(prompt)),
        Pooling.USER: (prompt.user_start, prompt.user_end),
        Pooling.LAST: (len(prompt) - 1, len(prompt)),
    }[pooling]
    weights = torch.zeros(len(prompt))
    weights[start:end] = 1 / (end - start)
    return weights
