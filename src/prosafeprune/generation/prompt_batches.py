"""The prompts of one call as a model reads them, batch by batch. A method that reads them otherwise has its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from prosafeprune.generation.decoding import BatchDecoder, PlainBatchDecoder
from prosafeprune.generation.prefill import prefill
from prosafeprune.model.chat import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache


class Reading(Protocol):
    """Prompts ready to be read."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each prompt; prompts of like length share a batch."""
        ...

    @property
    def places(self) -> int:
        """Places in the cache that the longest prompt takes, its answer included."""
        ...

    def read(self, rows: Sequence[int]) -> BatchDecoder:
        """Read some of the prompts, in this order, up to the first token of their answers."""
        ...


MakePromptBatches = Callable[[LoadedModel, Sequence[str], int], Reading]
"""Makes the reading of some prompts, each to be answered in as many tokens, at most. Raises InputError."""


class ChatPromptBatches:
    """Each prompt as one user turn, behind a system prompt if there is one."""

    def __init__(
        self, loaded: LoadedModel, prompts: Sequence[str], max_new_tokens: int, system: str | None = None
    ) -> None:
        """Encode the prompts, and run the tokens they all begin with. Raises InputError when the template fails."""
        self.loaded = loaded
        self.ids = [prompt.ids for prompt in encode_prompts(loaded.tokenizer, prompts, system)]
        self.lengths = [len(ids) for ids in self.ids]
        self.places = max(self.lengths, default=0) + max_new_tokens
        self.head = PrefixCache(loaded.model, self.ids, max_new_tokens)

    def read(self, rows: Sequence[int]) -> PlainBatchDecoder:
        """Read some of the prompts."""
        return PlainBatchDecoder(self.loaded, prefill(self.loaded, self.tails(rows), self.head))

    def tails(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        """Return what follows the shared head in some of the prompts."""
        return [self.ids[row][self.head.length :] for row in rows]
