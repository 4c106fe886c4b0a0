"""Batched decoding: finished rows leave the batch, so that the remaining steps run faster."""

import random
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from prosafeprune.errors import InputError
from prosafeprune.generation.prefill import BeforePass, PrefilledBatch, forward_step, no_hook, prefill
from prosafeprune.model.batches import PaddedBatch
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.progress import report_tokens

LOWEST_TEMPERATURE = 1e-4
"""Lowest temperature of sampling: below, the most likely token has all the probability, and logits may overflow."""
NO_TOKEN = -1
"""Stands for the token of a row whose logits are NaN."""
NAN_LOGITS = (
    "The model's logits are NaN, so nothing can be generated. A number in its config.json is wrong, or too large for "
    "its dtype: try --dtype float32."
)


class TokenChoice:
    """Greedy choice or sampling of the next token.

    Each row has its own random generator and draws one number per token, so an answer depends neither on its batch
    nor on the other prompts of the run.
    """

    def __init__(self, temperature: float, row_seeds: Sequence[str]) -> None:
        self.temperature = temperature
        self.generators = [random.Random(seed) for seed in row_seeds]

    def choose(self, logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """Return one token id for each row of ``logits (rows, vocabulary)``; ``rows`` are their original indices."""
        if self.temperature < LOWEST_TEMPERATURE:
            return logits.argmax(dim=-1)
        cumulative = torch.softmax(logits.float() / self.temperature, dim=-1).cumsum(dim=-1)
        thresholds = torch.tensor([[self.generators[row].random()] for row in rows], device=logits.device)
        chosen = torch.searchsorted(cumulative, thresholds * cumulative[:, -1:], right=True).squeeze(1)
        return chosen.clamp(max=logits.shape[-1] - 1)


class BatchDecoder(Protocol):
    """A prefilled batch that is decoded token by token. Methods with another decoding rule implement their own."""

    @property
    def logits(self) -> torch.Tensor:
        """Next-token logits of the remaining rows, ``(rows, vocabulary)``."""
        ...

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only these rows, ``(kept,)`` indices among the remaining ones."""
        ...

    def append(self, tokens: torch.Tensor) -> None:
        """Append one token, ``(rows,)``, to each remaining row and run it."""
        ...


class PlainBatchDecoder:
    """Decodes with one forward pass per token."""

    def __init__(self, loaded: LoadedModel, batch: PrefilledBatch, before_pass: BeforePass = no_hook) -> None:
        self.loaded, self.batch, self.before_pass = loaded, batch, before_pass
        self.rows = list(range(len(batch.logits)))
        """Original indices of the remaining rows."""

    @property
    def logits(self) -> torch.Tensor:
        """Next-token logits of the remaining rows, ``(rows, vocabulary)``."""
        return self.batch.logits

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only these of the remaining rows."""
        batch = self.batch
        batch.cache.reorder_cache(rows)
        batch.mask, batch.positions, batch.logits = batch.mask[rows], batch.positions[rows], batch.logits[rows]
        self.rows = [self.rows[row] for row in rows.tolist()]

    def append(self, tokens: torch.Tensor) -> None:
        """Append one token to each remaining row and run it."""
        batch = self.batch
        batch.positions = batch.positions + 1
        batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(tokens), 1)], dim=1)
        self.before_pass(self.rows)
        step = PaddedBatch(tokens[:, None], batch.mask[:, -1:], batch.positions)
        batch.logits = forward_step(self.loaded, step, batch.mask, batch.cache)


def decode_batch(
    loaded: LoadedModel,
    suffixes: Sequence[Sequence[int]],
    prefix: PrefixCache,
    max_new_tokens: int,
    choice: TokenChoice,
) -> Iterator[tuple[int, list[int], bool]]:
    """Prefill and decode one batch of prompts, given without their shared prefix, as :func:`decode` does."""
    decoder = PlainBatchDecoder(loaded, prefill(loaded, suffixes, prefix))
    return decode(decoder, loaded.end_ids, max_new_tokens, choice)


def logits_along(decoder: BatchDecoder, answers: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Return what a prefilled batch would choose from along given answers, one for each row.

    For the ``n`` tokens of an answer these are logits ``(n + 1, vocabulary)``: before each of them, and after the last.
    """
    found: list[list[torch.Tensor]] = [[] for _ in answers]
    rows = list(range(len(answers)))  # original indices of the remaining rows
    for position in range(max(map(len, answers)) + 1):
        logits = decoder.logits
        for row, of_row in zip(rows, logits, strict=True):
            found[row].append(of_row)
        kept = [i for i, row in enumerate(rows) if len(answers[row]) > position]
        if not kept:
            break
        if len(kept) < len(rows):
            decoder.keep(torch.tensor(kept, device=logits.device))
            rows = [rows[i] for i in kept]
        decoder.append(torch.tensor([answers[row][position] for row in rows], device=logits.device))
    return [torch.stack(of_row) for of_row in found]


def decode(
    decoder: BatchDecoder, end_ids: Sequence[int], max_new_tokens: int, choice: TokenChoice
) -> Iterator[tuple[int, list[int], bool]]:
    """Decode a prefilled batch.

    Yields, as each row finishes: its index, its new token ids without the end token, and whether it reached an end
    token within the limit.

    Raises:
        InputError: logits are NaN, in which any choice of tokens would look like an answer.
    """
    device = decoder.logits.device
    ends = set(end_ids)
    rows = list(range(len(decoder.logits)))  # original indices of the remaining rows
    answers: list[list[int]] = [[] for _ in rows]
    for count in range(1, max_new_tokens + 1):
        chosen = choice.choose(decoder.logits, rows)
        chosen = torch.where(decoder.logits.amax(dim=-1).isnan(), NO_TOKEN, chosen)
        tokens = chosen.tolist()  # the only wait for a GPU per token
        if NO_TOKEN in tokens:
            raise InputError(NAN_LOGITS)
        ended = [token in ends for token in tokens]
        if any(ended):
            yield from ((row, answers[row], True) for row, end in zip(rows, ended, strict=True) if end)
            rows = [row for row, end in zip(rows, ended, strict=True) if not end]
            if not rows:
                return
            kept = torch.tensor([i for i, end in enumerate(ended) if not end], device=device)
            decoder.keep(kept)
            chosen = chosen[kept]
            tokens = [token for token, end in zip(tokens, ended, strict=True) if not end]
        for row, token in zip(rows, tokens, strict=True):
            answers[row].append(token)
        if count < max_new_tokens:
            report_tokens(len(rows), count / max_new_tokens)
            decoder.append(chosen)
    yield from ((row, answers[row], False) for row in rows)
