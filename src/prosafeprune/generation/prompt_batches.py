"""The encoded prompts of one call, ready to be prefilled in batches. Methods that encode otherwise have their own."""

from collections.abc import Callable, Sequence
from typing import Protocol

from prosafeprune.generation.decoding import BatchDecoder, PlainBatchDecoder
from prosafeprune.generation.prefill import prefill
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.prompts.conversation import Turn


class PromptBatches(Protocol):
    """Encoded prompts that can be prefilled in any grouping."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each prompt; prompts of similar length share a batch."""
        ...

    @property
    def cache_length(self) -> int:
        """KV cache positions that the longest prompt and its answer take."""
        ...

    def decoder(self, rows: Sequence[int]) -> BatchDecoder:
        """Prefill the prompts with these indices, in this order, and return the decoder of the batch."""
        ...


MakePromptBatches = Callable[[LoadedModel, Sequence[str], int], PromptBatches]
"""Encodes prompts, given the most tokens an answer may have. Raises InputError."""


class ChatPromptBatches:
    """Each prompt in the chat template, after a system prompt and earlier turns if there are any."""

    def __init__(
        self,
        loaded: LoadedModel,
        prompts: Sequence[str],
        max_new_tokens: int,
        system: str | None = None,
        history: Sequence[Turn] = (),
    ) -> None:
        """Encode the prompts and run their shared prefix. Raises InputError when the template fails."""
        self.loaded = loaded
        self.ids = [prompt.ids for prompt in encode_prompts(loaded.tokenizer, prompts, system, history)]
        self.lengths = [len(ids) for ids in self.ids]
        self.cache_length = max(self.lengths, default=0) + max_new_tokens
        self.prefix = PrefixCache(loaded.model, self.ids, max_new_tokens)

    def decoder(self, rows: Sequence[int]) -> PlainBatchDecoder:
        """Prefill the prompts with these indices."""
        return PlainBatchDecoder(self.loaded, prefill(self.loaded, self.suffixes(rows), self.prefix))

    def suffixes(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the prompts with these indices without the shared prefix."""
        return [self.ids[row][self.prefix.length :] for row in rows]
