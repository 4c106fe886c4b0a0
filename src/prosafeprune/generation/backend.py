"""The interface of everything that answers prompts: a model in memory, a server, a method wrapped around a model."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field


class Decoding(BaseModel):
    """Decoding settings."""

    model_config = ConfigDict(frozen=True)

    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature; 0 is greedy decoding."""
    seed: int = Field(default=0, ge=0)
    """Seed of the sampling; without effect in greedy decoding."""


@dataclass(frozen=True)
class Answer:
    """A generated answer."""

    text: str
    finished: bool
    """Whether the answer ended on its own; False when it was cut off at the token limit."""
    tokens: int | None = None
    """Number of generated tokens, the end token included; None when unknown."""
    seconds: float | None = None
    """Seconds measured by :class:`TimedGenerator`; None when not timed."""


class Generator(Protocol):
    """Answers prompts: plain text as a single user turn, or conversations."""

    def describe(self) -> dict[str, Any]:
        """Return, as plain JSON values, what the answers depend on besides prompts and decoding."""
        ...

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield the index of each prompt with its answer, in order of completion.

        Raises:
            InputError: prompts or settings are unusable, or generation fails.
        """
        ...


class TimedGenerator:
    """Times the answers of another generator.

    The time covers the generator only: rendering, prefill, decoding and the method's own work. Each answer gets the
    time since the previous one, so with batches only their sum is meaningful.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def describe(self) -> dict[str, Any]:
        """Return the wrapped generator's description."""
        return self.generator.describe()

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield the generator's answers with their times. Raises InputError as it does."""
        started = time.perf_counter()
        for index, answer in self.generator.answer(prompts, decoding):
            yield index, replace(answer, seconds=time.perf_counter() - started)
            started = time.perf_counter()


def answer_all(generator: Generator, prompts: Sequence[str], decoding: Decoding) -> list[Answer]:
    """Return the answers in the order of their prompts. Raises InputError as the generator does."""
    answers = dict(generator.answer(prompts, decoding))
    return [answers[index] for index in range(len(prompts))]
