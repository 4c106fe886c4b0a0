"""Self-CD (Shi et al. 2024): contrastive decoding of a prompt with and without an emphasis on safety.

The emphasis precedes the user's text, in the user's turn, as in the published script; otherwise the two prompts are the
same. (As the system prompt it would replace the default one of many templates, whose effect would then be amplified:
models talk about their name and maker.)

Each token is the most likely by ``z_with - ratio (z_with - z_without)`` and is appended to both prompts. Both are rows
of one batch, so a token takes one pass with twice the rows.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field

from prosafeprune.baselines.method import BatchSetting, FittedParts, Method
from prosafeprune.baselines.published_prompts import SELF_CD_SAFETY
from prosafeprune.generation import Generator, LocalGenerator
from prosafeprune.generation.decoding import BatchDecoder, PlainBatchDecoder
from prosafeprune.generation.prefill import can_be_joined, join, prefill
from prosafeprune.generation.prompt_batches import ChatPromptBatches
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.prompts.conversation import last_turn, with_last_turn


class SelfCd(Method):
    """Self-contrastive decoding (Shi et al. 2024)."""

    name: ClassVar[str] = "self-cd"
    ratio: float = Field(2.5, description="How much of the effect of the emphasis on safety is subtracted.")
    stress: str = Field(SELF_CD_SAFETY, min_length=1, description="Emphasis on safety, before the user's text.")

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, fitted: FittedParts) -> Generator:
        """Return a generator that decodes from both prompts."""
        return LocalGenerator(loaded, batch_size, partial(ContrastPromptBatches, ratio=self.ratio, stress=self.stress))


class ContrastPromptBatches:
    """Each prompt twice: with the emphasis on safety and without it."""

    def __init__(
        self, loaded: LoadedModel, prompts: Sequence[str], max_new_tokens: int, ratio: float, stress: str
    ) -> None:
        self.loaded, self.ratio, self.max_new_tokens = loaded, ratio, max_new_tokens
        stressed = [with_last_turn(prompt, f"{stress} {last_turn(prompt)}") for prompt in prompts]
        self.stressed = ChatPromptBatches(loaded, stressed, max_new_tokens)
        self.plain = ChatPromptBatches(loaded, prompts, max_new_tokens)
        self.lengths = self.stressed.lengths
        self.cache_length = 2 * self.stressed.cache_length  # the narrower of the two is padded

    def decoder(self, rows: Sequence[int]) -> BatchDecoder:
        """Read some of the prompts: first all with, then all without the emphasis."""
        branches = [self.stressed, self.plain]
        if can_be_joined(self.plain.prefix.cache(1)):
            batch = join([prefill(self.loaded, branch.suffixes(rows), branch.prefix) for branch in branches])
        else:
            # Caches that keep a window have to be filled together, padding and all.
            both = [branch.ids[row] for branch in branches for row in rows]
            batch = prefill(self.loaded, both, PrefixCache(self.loaded.model, [], self.max_new_tokens))
        return ContrastBatchDecoder(PlainBatchDecoder(self.loaded, batch), self.ratio)


class ContrastBatchDecoder:
    """Pairs of rows, one with and one without the emphasis on safety, that get the same token."""

    def __init__(self, both: PlainBatchDecoder, ratio: float) -> None:
        self.both, self.ratio = both, ratio

    @property
    def logits(self) -> torch.Tensor:
        """The contrasted logits ``(pairs, vocabulary)``, float32."""
        stressed, plain = self.both.logits.float().chunk(2)
        return stressed - self.ratio * (stressed - plain)

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all but these of the remaining pairs."""
        pairs = len(self.both.logits) // 2
        self.both.keep(torch.cat([rows, rows + pairs]))

    def append(self, tokens: torch.Tensor) -> None:
        """Put one token behind both rows of each pair."""
        self.both.append(torch.cat([tokens, tokens]))
