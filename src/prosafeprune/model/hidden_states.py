"""The hidden states of a few tokens of each text, at every depth of the model."""

from collections.abc import Sequence

import torch

from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.progress import Advance, ignore

TokenIndices = Sequence[int]
"""Tokens of a text, counted from its end: -1 is the last."""


@torch.inference_mode()
def hidden_states(
    loaded: LoadedModel,
    texts: Sequence[tuple[int, ...]],
    indices: Sequence[TokenIndices],
    batch_size: BatchSize,
    advance: Advance = ignore,
) -> torch.Tensor:
    """Return the states ``(texts, layers + 1, indices, d)`` of the tokens at ``indices``, float32, on the CPU.

    Entry ``l`` of the second dimension is what enters layer ``l``; the last entry is what the LM head reads, after the
    last layer and its norm, as in transformers' ``output_hidden_states``.

    Args:
        texts: token ids of each text.
        indices: the wanted tokens of each text, equally many.
        advance: called after each batch with the number of its texts.

    Raises:
        InputError: out of memory with a single text or at a fixed batch size, or a text longer than the positions.
    """
    reach = min(len(text) + min(wanted) for text, wanted in zip(texts, indices, strict=True))
    prefix = PrefixCache(loaded.model, texts, 0, at_most=reach)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
    found: list[torch.Tensor] = [torch.empty(0)] * len(texts)

    def work(rows: Sequence[int]) -> None:
        suffixes = [texts[row][prefix.length :] for row in rows]
        states = batch_hidden_states(suffixes, prefix, [indices[row] for row in rows])
        for row, of_row in zip(rows, states.cpu(), strict=True):
            found[row] = of_row

    for done in batch_size.run(order, work):
        advance(done)
    return torch.stack(found)


def batch_hidden_states(
    suffixes: Sequence[Sequence[int]], prefix: PrefixCache, indices: Sequence[TokenIndices]
) -> torch.Tensor:
    """Return the states ``(rows, layers + 1, indices, d)``, float32, of one batch of texts after a shared prefix."""
    states = prefix.run(suffixes, output_hidden_states=True).hidden_states
    width, device = states[0].shape[1], states[0].device
    columns = torch.tensor([[width + index for index in wanted] for wanted in indices], device=device)
    rows = torch.arange(len(suffixes), device=device)[:, None]
    return torch.stack([layer[rows, columns].float() for layer in states], dim=1)
