"""Pooling over a prompt's tokens, as weights that sum to one (section 3.2, "sequence pooling")."""

from __future__ import annotations

import torch

from prosafeprune.method.plan import Pooling
from prosafeprune.model.chat import EncodedPrompt


def token_weights(prompt: EncodedPrompt, pooling: Pooling) -> torch.Tensor:
    """Return the weight of each token in each sample, ``(samples, tokens)``, float32; each row sums to 1."""
    return torch.stack([_weights_of_part(prompt, part) for part in pooling.parts])


def _weights_of_part(prompt: EncodedPrompt, part: Pooling) -> torch.Tensor:
    start, end = {
        Pooling.SEQUENCE: (0, len(prompt)),
        Pooling.TAIL: (prompt.user_start, len(prompt)),
        Pooling.USER: (prompt.user_start, prompt.user_end),
        Pooling.LAST: (len(prompt) - 1, len(prompt)),
    }[part]
    weights = torch.zeros(len(prompt))
    weights[start:end] = 1 / (end - start)
    return weights
