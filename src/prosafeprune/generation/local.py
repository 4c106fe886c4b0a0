"""Answers from a model in memory or its replicas, in batches of prompts of similar length with one shared prefix."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from prosafeprune.generation.backend import Answer, Decoding, Generator
from prosafeprune.generation.decoding import TokenChoice, decode, logits_along
from prosafeprune.generation.prompt_batches import ChatPromptBatches, MakePromptBatches
from prosafeprune.generation.thought_tokens import AnswerDecoder
from prosafeprune.model.batches import BatchSize, cache_bytes_per_token
from prosafeprune.model.chat_template import with_opened_thought
from prosafeprune.model.loading import LoadedModel, dtype_name
from prosafeprune.model.replicas import ReplicatedModel

ROWS_ON_CPU = 64
"""Decoding multiplies a few rows by large matrices, so each row is cheaper in a larger batch."""
MakeGenerator = Callable[[LoadedModel], Generator]
"""Makes the generator of a model. It is pickled when the model has replicas."""
LogitsAlong = Callable[[Sequence[str], Sequence[Sequence[int]]], Iterator[tuple[int, torch.Tensor]]]
"""Yields, for prompts and an answer to each, what :meth:`LocalGenerator.logits_along` does."""


class LocalGenerator:
    """Answers prompts with a model in memory."""

    def __init__(
        self,
        loaded: LoadedModel,
        batch_size: int | Literal["auto"] = "auto",
        make_batches: MakePromptBatches = ChatPromptBatches,
    ) -> None:
        self.loaded = loaded
        self.batch_size = BatchSize(batch_size, loaded.device)
        self.make_batches = make_batches
        self.decode = AnswerDecoder(loaded.tokenizer)
        self.batch_sizes: list[int] = []
        """Size of each batch that ran; in half precision, answers may depend on it."""

    def describe(self) -> dict[str, Any]:
        """Return the device, dtype, threads and batch sizes."""
        return {
            "backend": "transformers",
            "device": self.loaded.device_name,
            "dtype": dtype_name(self.loaded.run_dtype),
            "threads": torch.get_num_threads(),
            "batch_sizes": self.batch_sizes,
        }

    # On a generator function, torch enters inference mode at each resumption and leaves it at each yield.
    @torch.inference_mode()
    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield the index of each prompt with its answer as it is done, longest prompts first.

        Raises:
            InputError: the template fails, or out of memory with a single prompt or at a fixed batch size.
        """
        batches = self.make_batches(self.loaded, prompts, decoding.max_new_tokens)
        if self.batch_size.automatic and self.loaded.device.type == "cpu":
            cache_bytes = ROWS_ON_CPU * batches.cache_length * cache_bytes_per_token(self.loaded.model)
            self.batch_size.grow(ROWS_ON_CPU, cache_bytes)
        order = sorted(range(len(prompts)), key=lambda i: batches.lengths[i], reverse=True)

        def answer_batch(indices: Sequence[int]) -> Iterator[tuple[int, Answer]]:
            choice = TokenChoice(decoding.temperature, [f"{decoding.seed} {prompts[i]}" for i in indices])
            decoder = batches.decoder(indices)
            for row, ids, finished in decode(decoder, self.loaded.end_ids, decoding.max_new_tokens, choice):
                index = indices[row]
                text = with_opened_thought(self.loaded.tokenizer, prompts[index], self.decode(ids).strip())
                yield index, Answer(text, finished, len(ids) + finished)
            self.batch_sizes.append(len(indices))

        yield from self.batch_size.stream(order, answer_batch)

    @torch.inference_mode()
    def logits_along(
        self, prompts: Sequence[str], answers: Sequence[Sequence[int]]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the index of each prompt with the logits that a token is chosen from along its given answer.

        These are ``(n + 1, vocabulary)`` for an answer of ``n`` tokens, from the same passes as in :meth:`answer`.

        Raises:
            InputError: as :meth:`answer` does.
        """
        batches = self.make_batches(self.loaded, prompts, max(map(len, answers), default=0) + 1)
        order = sorted(range(len(prompts)), key=lambda i: batches.lengths[i], reverse=True)

        def follow(indices: Sequence[int]) -> Iterator[tuple[int, torch.Tensor]]:
            found = logits_along(batches.decoder(indices), [answers[i] for i in indices])
            yield from zip(indices, found, strict=True)

        yield from self.batch_size.stream(order, follow)


class EditedGenerator:
    """A generator whose model is edited while it answers and restored afterwards."""

    def __init__(self, generator: Generator, edits: Callable[[], AbstractContextManager[None]]) -> None:
        self.generator, self.edits = generator, edits

    def describe(self) -> dict[str, Any]:
        """Return the wrapped generator's description."""
        return self.generator.describe()

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield the edited model's answers. Raises InputError as the generator does."""
        with self.edits():
            yield from self.generator.answer(prompts, decoding)


def following(generator: Generator) -> LogitsAlong | None:
    """Return :meth:`LocalGenerator.logits_along` of a generator, edited where it is; None where there is none.

    A generator of the user's own may choose its answers in any way.
    """
    inner = generator.generator if isinstance(generator, EditedGenerator) else generator
    if type(inner) is not LocalGenerator:
        return None
    edits = generator.edits if isinstance(generator, EditedGenerator) else nullcontext

    def follow(prompts: Sequence[str], answers: Sequence[Sequence[int]]) -> Iterator[tuple[int, torch.Tensor]]:
        with edits():
            yield from inner.logits_along(prompts, answers)

    return follow


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
