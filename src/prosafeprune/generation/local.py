"""Answers from a model in memory, in batches.

The tokens that all prompts begin with are run once; prompts of like length share a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

from prosafeprune.generation.backend import Answer, Decoding, Generator
from prosafeprune.generation.decoding import TokenChoice, decode
from prosafeprune.generation.prompt_batches import ChatPromptBatches, MakePromptBatches
from prosafeprune.model.batches import BatchSize, cache_bytes_per_token
from prosafeprune.model.loading import LoadedModel, dtype_name

ROWS_ON_CPU = 64
"""Decoding multiplies few rows by large matrices: each row costs less the more there are."""


class LocalGenerator:
    """Answers prompts with a model in memory."""

    def __init__(
        self,
        loaded: LoadedModel,
        batch_size: int | Literal["auto"] = "auto",
        reading: MakePromptBatches = ChatPromptBatches,
    ) -> None:
        self.loaded = loaded
        self.batch_size = BatchSize(batch_size, loaded.device)
        self.reading = reading
        self.batch_sizes: list[int] = []
        """How many prompts ran at a time, batch by batch; in half precision, answers may depend on it."""

    def describe(self) -> dict[str, Any]:
        """Return where and in what the model runs."""
        return {
            "backend": "transformers",
            "device": self.loaded.device_name,
            "dtype": dtype_name(self.loaded.run_dtype),
            "threads": torch.get_num_threads(),
            "batch_sizes": self.batch_sizes,
        }

    # torch enters the mode each time the generator goes on, and leaves it at each yield.
    @torch.inference_mode()
    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield each prompt's place and answer as it is done, the longest prompts first.

        Raises:
            InputError: the template fails, or out of memory with a single prompt or at a fixed batch size.
        """
        reading = self.reading(self.loaded, prompts, decoding.max_new_tokens)
        if self.batch_size.automatic and self.loaded.device.type == "cpu":
            self.batch_size.grow(ROWS_ON_CPU, ROWS_ON_CPU * reading.places * cache_bytes_per_token(self.loaded.model))
        order = sorted(range(len(prompts)), key=lambda i: reading.lengths[i], reverse=True)

        def work(rows: Sequence[int]) -> Iterator[tuple[int, Answer]]:
            choice = TokenChoice(decoding.temperature, [f"{decoding.seed} {prompts[i]}" for i in rows])
            written = decode(reading.read(rows), self.loaded.end_ids, decoding.max_new_tokens, choice)
            for place, ids, finished in written:
                text = str(self.loaded.tokenizer.decode(ids, skip_special_tokens=True)).strip()
                yield rows[place], Answer(text, finished, len(ids) + finished)
            self.batch_sizes.append(len(rows))

        yield from self.batch_size.stream(order, work)


class ChangedWhileAnswering:
    """A generator whose model is changed for as long as it answers, and put back afterwards."""

    def __init__(self, generator: Generator, change: Callable[[], AbstractContextManager[None]]) -> None:
        self.generator, self.change = generator, change

    def describe(self) -> dict[str, Any]:
        """Return what the generator tells of itself."""
        return self.generator.describe()

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield answers of the changed model. Raises InputError as the generator does."""
        with self.change():
            yield from self.generator.answer(prompts, decoding)
