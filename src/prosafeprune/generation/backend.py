"""What anything that answers prompts offers: a model in memory, a server, a method wrapped around a model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from prosafeprune.progress import Advance, ignore


class Decoding(BaseModel):
    """How answers are drawn from a model."""

    model_config = ConfigDict(frozen=True)

    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    """0 takes the likeliest token each time."""
    seed: int = Field(default=0, ge=0)
    """Of the draws, when the temperature is not 0."""


@dataclass(frozen=True)
class Answer:
    """One answer."""

    text: str
    finished: bool
    """Whether the model ended it by itself; False when it was cut at the limit."""
    tokens: int | None = None
    """How many tokens were written, the one that ended it included; None when that is not known."""
    seconds: float | None = None
    """How long it took, as :class:`Timed` measures it; None when nobody did."""


class Generator(Protocol):
    """Answers prompts, each as a single user turn."""

    def describe(self) -> dict[str, Any]:
        """Return, for the record, what decides the answers besides prompts and decoding; plain JSON values."""
        ...

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield the place of each prompt with its answer, in whatever order they are done.

        Raises:
            InputError: prompts or settings cannot be used, or the answers cannot be had.
        """
        ...


class Timed:
    """A generator whose answers tell how long they took.

    What is timed is the generator alone, from being asked to its last answer: rendering, reading, decoding, and all
    that a method does besides. Each answer is given the time since the one before it, so that in batches their sum
    tells something, and no single one.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def describe(self) -> dict[str, Any]:
        """Return what the generator tells of itself."""
        return self.generator.describe()

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield the generator's answers with their times. Raises InputError as it does."""
        started = time.perf_counter()
        for place, answer in self.generator.answer(prompts, decoding):
            yield place, replace(answer, seconds=time.perf_counter() - started)
            started = time.perf_counter()


def answer_all(
    generator: Generator, prompts: Sequence[str], decoding: Decoding, advance: Advance = ignore
) -> list[Answer]:
    """Return the answers in the order of their prompts. Raises InputError as the generator does."""
    answers: dict[int, Answer] = {}
    for place, answer in generator.answer(prompts, decoding):
        answers[place] = answer
        advance(1)
    return [answers[place] for place in range(len(prompts))]
