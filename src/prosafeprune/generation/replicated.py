"""Answers from a model and its copies: each process answers its share of the prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from prosafeprune.generation.backend import Answer, Decoding, Generator
from prosafeprune.generation.local import LocalGenerator
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.replicas import Replicas

MakeGenerator = Callable[[LoadedModel], Generator]
"""Makes what answers for a model. Where the model has copies it is pickled."""


def answering(loaded: LoadedModel, batch_size: int | Literal["auto"]) -> Generator:
    """Return what answers for a model as it is, with its copies where it has any."""
    return answering_by(loaded, partial(LocalGenerator, batch_size=batch_size))


def answering_by(loaded: LoadedModel, make: MakeGenerator) -> Generator:
    """Return what ``make`` makes of a model, and of its copies where it has any."""
    return make(loaded) if loaded.replicas is None else SharedGenerator(loaded, loaded.replicas, make)


class SharedGenerator:
    """Answers prompts with a model and its copies."""

    def __init__(self, loaded: LoadedModel, copies: Replicas, make: MakeGenerator) -> None:
        self.copies, self.make = copies, make
        self.own = make(loaded)
        self._batch_sizes: list[list[int]] = [[] for _ in range(copies.size)]

    def describe(self) -> dict[str, Any]:
        """Return what the generator of this process tells; batch sizes are those of one process after the other."""
        sizes = [size for of_process in self._batch_sizes for size in of_process]
        return {**self.own.describe(), "processes": self.copies.size, "batch_sizes": sizes}

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield each prompt's place and answer as it comes. Raises InputError as the generators do."""
        shares = self.copies.deal([len(prompt) for prompt in prompts])
        own = _answers(self.own, prompts, shares[0], decoding)
        for rank, found in self.copies.share(_Answers(self.make, prompts, decoding), shares, own):
            if isinstance(found, list):
                self._batch_sizes[rank] += found
            else:
                yield found


@dataclass(frozen=True)
class _Answers:
    make: MakeGenerator
    prompts: Sequence[str]
    decoding: Decoding

    def __call__(self, loaded: LoadedModel, places: Sequence[int]) -> Iterator[Any]:
        yield from _answers(self.make(loaded), self.prompts, places, self.decoding)


def _answers(
    generator: Generator, prompts: Sequence[str], places: Sequence[int], decoding: Decoding
) -> Iterator[tuple[int, Answer] | list[int]]:
    """Yield the answers to the prompts at some places, and in the end the sizes of the batches they came in."""
    before = len(generator.describe().get("batch_sizes", ()))
    for place, answer in generator.answer([prompts[place] for place in places], decoding):
        yield places[place], answer
    yield list(generator.describe().get("batch_sizes", ()))[before:]
