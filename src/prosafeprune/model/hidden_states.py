"""The hidden states of a few tokens of each text, from before the first layer to behind the last."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prosafeprune.model.batches import BatchSize, accepted, last_tokens, pad_batch
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.progress import Advance, ignore

Places = Sequence[int]
"""Tokens of a text, counted from its end: -1 is the last."""


@torch.inference_mode()  # type: ignore[untyped-decorator]
def hidden_states(
    loaded: LoadedModel,
    texts: Sequence[tuple[int, ...]],
    places: Sequence[Places],
    batch_size: BatchSize,
    advance: Advance = ignore,
) -> torch.Tensor:
    """Return the states ``(texts, layers + 1, places, d)`` of the tokens at ``places``, float32, on the CPU.

    Place ``l`` of the second dimension is what enters layer ``l``; the last one is what the model's head reads, behind
    the last layer and its norm, as transformers' ``output_hidden_states`` has it.

    Args:
        loaded: the model.
        texts: token ids of each text.
        places: for each text the tokens that are wanted, equally many.
        batch_size: how many texts run at a time.
        advance: told of each text that is done.

    Raises:
        InputError: out of memory with a single text or at a fixed batch size.
    """
    reach = min(len(text) + min(wanted) for text, wanted in zip(texts, places, strict=True))
    head = PrefixCache(loaded.model, texts, 0, at_most=reach)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
    found: list[torch.Tensor] = [torch.empty(0)] * len(texts)

    def work(rows: Sequence[int]) -> None:
        tails = [texts[row][head.length :] for row in rows]
        states = batch_hidden_states(loaded, tails, head, [places[row] for row in rows])
        for row, of_row in zip(rows, states.cpu(), strict=True):
            found[row] = of_row

    for done in batch_size.run(order, work):
        advance(done)
    return torch.stack(found)


def batch_hidden_states(
    loaded: LoadedModel, tails: Sequence[Sequence[int]], head: PrefixCache, places: Sequence[Places]
) -> torch.Tensor:
    """Return the states ``(rows, layers + 1, places, d)``, float32, of one batch of texts behind a shared head."""
    batch = pad_batch(tails, head.length, "left", loaded.device)
    states = loaded.model(
        input_ids=batch.ids,
        attention_mask=torch.cat([batch.mask.new_ones(len(tails), head.length), batch.mask], dim=1),
        past_key_values=head.cache(len(tails)),
        use_cache=True,
        output_hidden_states=True,
        **accepted(loaded.model, position_ids=batch.positions, logits_to_keep=last_tokens(1)),
    ).hidden_states
    width = batch.ids.shape[1]
    columns = torch.tensor([[width + place for place in wanted] for wanted in places], device=loaded.device)
    rows = torch.arange(len(tails), device=loaded.device)[:, None]
    return torch.stack([layer[rows, columns].float() for layer in states], dim=1)
