"""Answers from a model and its replicas, each process answering its share of the prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from prosafeprune.generation.backend import Answer, Decoding, Generator
from prosafeprune.generation.local import LocalGenerator
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.replicas import ReplicatedModel

MakeGenerator = Callable[[LoadedModel], Generator]
"""Makes the generator of a model. It is pickled when the model has replicas."""


def local_generator(loaded: LoadedModel, batch_size: int | Literal["auto"]) -> Generator:
    """Return the generator of an unmodified model, over its replicas where it has any."""
    return replicated_generator(loaded, partial(LocalGenerator, batch_size=batch_size))


def replicated_generator(loaded: LoadedModel, make: MakeGenerator) -> Generator:
    """Return the generator that ``make`` makes of a model, over its replicas where it has any."""
    return ReplicatedGenerator(loaded, make) if isinstance(loaded, ReplicatedModel) else make(loaded)


class ReplicatedGenerator:
    """Answers prompts with a model and its replicas."""

    def __init__(self, loaded: ReplicatedModel, make: MakeGenerator) -> None:
        self.replicas, self.make = loaded.replicas, make
        self.own = make(loaded)
        self._batch_sizes: list[list[int]] = [[] for _ in range(self.replicas.size)]

    def describe(self) -> dict[str, Any]:
        """Return the description of this process's generator, with the batch sizes of all processes in rank order."""
        sizes = [size for of_process in self._batch_sizes for size in of_process]
        return {**self.own.describe(), "processes": self.replicas.size, "batch_sizes": sizes}

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield the index of each prompt with its answer as it is done. Raises InputError as the generators do."""
        shares = self.replicas.deal([len(prompt) for prompt in prompts])
        own = _answer_share(self.own, prompts, shares[0], decoding)
        for rank, found in self.replicas.share(_AnswerShare(self.make, prompts, decoding), shares, own):
            if isinstance(found, list):
                self._batch_sizes[rank] += found
            else:
                yield found


@dataclass(frozen=True)
class _AnswerShare:
    make: MakeGenerator
    prompts: Sequence[str]
    decoding: Decoding

    def __call__(self, loaded: LoadedModel, indices: Sequence[int]) -> Iterator[Any]:
        yield from _answer_share(self.make(loaded), self.prompts, indices, self.decoding)


def _answer_share(
    generator: Generator, prompts: Sequence[str], indices: Sequence[int], decoding: Decoding
) -> Iterator[tuple[int, Answer] | list[int]]:
    """Yield the answers to the prompts with these indices, and at the end the batch sizes used."""
    before = len(generator.describe().get("batch_sizes", ()))
    for position, answer in generator.answer([prompts[index] for index in indices], decoding):
        yield indices[position], answer
    yield list(generator.describe().get("batch_sizes", ()))[before:]
