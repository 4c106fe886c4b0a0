"""Decoding one batch: rows that have ended leave it, so that the rest runs faster."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from prosafeprune.generation.prefill import Prefilled, Watch, prefill, step, watch_nothing
from prosafeprune.model.batches import PaddedBatch
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache


class TokenChoice:
    """Chooses each next token: the likeliest one, or a draw.

    Every row draws from a source of its own, one number a token, so that an answer depends neither on the batch it
    was in nor on the other prompts of the run.
    """

    def __init__(self, temperature: float, row_seeds: Sequence[str]) -> None:
        self.temperature = temperature
        self.draws = [random.Random(seed) for seed in row_seeds]

    def choose(self, logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """Return one token id for each row of ``logits (rows, vocabulary)``; ``rows`` says which rows these are."""
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        cumulative = torch.softmax(logits.float() / self.temperature, dim=-1).cumsum(dim=-1)
        thresholds = torch.tensor([[self.draws[row].random()] for row in rows], device=logits.device)
        chosen = torch.searchsorted(cumulative, thresholds * cumulative[:, -1:], right=True).squeeze(1)
        return chosen.clamp(max=logits.shape[-1] - 1)


class BatchDecoder(Protocol):
    """The rows of a batch on which a model writes, token by token; a method that decodes otherwise has its own."""

    @property
    def logits(self) -> torch.Tensor:
        """For the next token of each remaining row, ``(rows, vocabulary)``."""
        ...

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all but these of the remaining rows, ``(kept,)`` places among them."""
        ...

    def write(self, tokens: torch.Tensor) -> None:
        """Put one token, ``(rows,)``, behind each remaining row, and read it."""
        ...


class PlainBatchDecoder:
    """Rows of a model that is asked once for each token."""

    def __init__(self, loaded: LoadedModel, batch: Prefilled, watch: Watch = watch_nothing) -> None:
        self.loaded, self.batch, self.watch = loaded, batch, watch
        self.rows = list(range(len(batch.logits)))
        """Which of the batch's first rows remain."""

    @property
    def logits(self) -> torch.Tensor:
        """For the next token of each remaining row, ``(rows, vocabulary)``."""
        return self.batch.logits

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all but these of the remaining rows."""
        batch = self.batch
        batch.cache.reorder_cache(rows)
        batch.mask, batch.positions, batch.logits = batch.mask[rows], batch.positions[rows], batch.logits[rows]
        self.rows = [self.rows[row] for row in rows.tolist()]

    def write(self, tokens: torch.Tensor) -> None:
        """Put one token behind each remaining row, and read it."""
        batch = self.batch
        batch.positions = batch.positions + 1
        batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(tokens), 1)], dim=1)
        self.watch(self.rows)
        further = PaddedBatch(tokens[:, None], batch.mask[:, -1:], batch.positions)
        batch.logits = step(self.loaded, further, batch.mask, batch.cache)


def decode_batch(
    loaded: LoadedModel, tails: Sequence[Sequence[int]], head: PrefixCache, max_new_tokens: int, choice: TokenChoice
) -> Iterator[tuple[int, list[int], bool]]:
    """Decode one batch of prompts that go on after a shared head, as ``decode`` does."""
    writing = PlainBatchDecoder(loaded, prefill(loaded, tails, head))
    return decode(writing, loaded.end_ids, max_new_tokens, choice)


def decode(
    writing: BatchDecoder, end_ids: Sequence[int], max_new_tokens: int, choice: TokenChoice
) -> Iterator[tuple[int, list[int], bool]]:
    """Write answers to a batch whose prompts have been read.

    Yields, as soon as each row is done: its place, its new token ids without the end token, and whether it ended by
    itself.
    """
    device = writing.logits.device
    ends = torch.tensor(end_ids, dtype=torch.long, device=device)
    rows = list(range(len(writing.logits)))  # which answer each remaining row writes
    answers: list[list[int]] = [[] for _ in rows]
    for count in range(1, max_new_tokens + 1):
        chosen = choice.choose(writing.logits, rows)
        ended = torch.isin(chosen, ends).tolist()
        if any(ended):
            yield from ((row, answers[row], True) for row, end in zip(rows, ended, strict=True) if end)
            rows = [row for row, end in zip(rows, ended, strict=True) if not end]
            if not rows:
                return
            kept = torch.tensor([i for i, end in enumerate(ended) if not end], device=device)
            writing.keep(kept)
            chosen = chosen[kept]
        for row, token in zip(rows, chosen.tolist(), strict=True):
            answers[row].append(token)
        if count < max_new_tokens:
            writing.write(chosen)
    yield from ((row, answers[row], False) for row in rows)
