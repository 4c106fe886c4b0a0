"""Pooling over a prompt's tokens, as weights that sum to one (section 3.2, "sequence pooling")."""

from __future__ import annotations

import torch

from prosafeprune.method.plan import Pooling
from prosafeprune.model.chat import EncodedPrompt


def token_weights(prompt: EncodedPrompt, pooling: Pooling) -> torch.Tensor:
    """Return the weight of each token, ``(tokens,)``, float32, summing to 1."""
    start, end = {
        Pooling.SEQUENCE: (0, len(prompt)),
        Pooling.TAIL: (prompt.user_start, len(prompt)),
        Pooling.USER: (prompt.user_start, prompt.user_end),
        Pooling.LAST: (len(prompt) - 1, len(prompt)),
    }[pooling]
    weights = torch.zeros(len(prompt))
    weights[start:end] = 1 / (end - start)
    return weights
