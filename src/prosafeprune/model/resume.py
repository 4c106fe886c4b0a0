"""Forward passes that begin at a layer: an edit of layer ``l`` leaves everything below ``l`` unchanged.

One pass of the base model caches the hidden states that enter some layers. To run an edited model, its own forward
stays in charge of embeddings, masks and positions, while the layers below the first edited one return the cached states
instead of computing them. The shared prompt prefix is run once per pass, since the edit changes its keys and values in
the layers that run.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import (
    BatchSize,
    PaddedBatch,
    accepted,
    is_out_of_memory,
    last_tokens,
    pad_batch,
    run_batch,
)
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.partial_pass import EndReached, Forms, beginning_at, ending_at, recording
from prosafeprune.model.prefix_cache import expand_cache, run_prefix, shared_prefix_length
from prosafeprune.model.state_cache import StateCache, affordable_layers

TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Relative distance up to which two passes count as equal, by dtype: rounding depends on the shape of the batch."""


@dataclass(frozen=True)
class ForcedText:
    """The tokens of a prompt, followed by answer tokens that the model is made to read."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """All tokens."""
        return self.prompt_ids + self.answer_ids


@dataclass(frozen=True)
class TokenOutputs:
    """Outputs at the last prompt token and at each of ``n`` answer tokens, in the model's dtype and on its device."""

    hidden: torch.Tensor
    """What the LM head reads, or what leaves the last layer that ran, ``(n + 1, d)``."""
    logits: torch.Tensor | None
    """Logits ``(n + 1, vocabulary)``; None where they were not asked for."""


class ResumedModel:
    """A model and texts with cached hidden states, so that later passes over the texts begin at any cached layer."""

    def __init__(
        self,
        loaded: LoadedModel,
        anatomy: Anatomy,
        texts: Sequence[ForcedText],
        layers: Sequence[int],
        batch_size: BatchSize,
    ) -> None:
        """Run the model once, as it is now, and cache the states that enter ``layers``.

        Args:
            loaded: the model with its base weights.
            texts: at least one.
            layers: layers that later passes may begin at; when memory is short, only some of them, always including
                the earliest. Without any, nothing runs until :meth:`run`.

        Raises:
            InputError: out of memory, output that is not finite, no room for the states, or a text longer than the
                model's positions.
        """
        self.loaded, self.anatomy, self.texts, self.batch_size = loaded, anatomy, list(texts), batch_size
        self.model, self.device = loaded.model, loaded.device
        self.order = sorted(range(len(texts)), key=lambda row: len(texts[row].ids), reverse=True)
        shared = shared_prefix_length(self.model, [text.ids for text in texts], "left")
        self.prefix = texts[0].ids[: min(shared, min(len(text.prompt_ids) for text in texts) - 1)]
        self._forms: Forms = {}
        lengths = [len(text.ids) - len(self.prefix) for text in texts]
        width = int(self.model.config.get_text_config(decoder=True).hidden_size)
        tokens = sum(lengths) + len(self.prefix)
        self.cached = StateCache(
            affordable_layers(sorted({layer for layer in layers if layer > 0}), tokens, width), lengths
        )
        if self.cached.layers:
            self._fill()

    @property
    def starts(self) -> tuple[int, ...]:
        """Layers at which passes may begin, 0 among them."""
        return (0, *self.cached.layers)

    @torch.inference_mode()
    def run(
        self, first_layer: int, last_layer: int | None = None, *, logits: bool = False
    ) -> Iterator[tuple[int, TokenOutputs]]:
        """Yield each text's row and outputs, longest texts first.

        Args:
            first_layer: no layer below it has changed since the states were cached.
            last_layer: the last to run; None for all, and the norm after them.
            logits: whether the LM head is run as well; then all layers are.

        Raises:
            InputError: out of memory, or the output is not finite.
        """
        start = max(layer for layer in self.starts if layer <= first_layer)
        end = None if logits else last_layer
        prefix_cache = self._run_prefix(start, end) if self.prefix else None

        def work(rows: Sequence[int]) -> Iterator[tuple[int, TokenOutputs]]:
            batch = self._batch(rows)
            states = self.cached.padded(start, rows, batch.ids.shape[1]) if start else None
            with self._beginning_at(start, states):
                outputs = self._forward(rows, batch, prefix_cache, logits, end)
            yield from zip(rows, outputs, strict=True)

        yield from self.batch_size.stream(self.order, work)

    def _batch(self, rows: Sequence[int]) -> PaddedBatch:
        # Padded on the left, so that the last tokens of all rows are in the same columns.
        length = len(self.prefix)
        return pad_batch([self.texts[row].ids[length:] for row in rows], length, "left", self.device)

    @torch.inference_mode()
    def _fill(self) -> None:
        prefix_cache = None
        with recording(self.anatomy.layers, self.cached.layers, self._forms) as entered:
            if self.prefix:
                prefix_cache = self._run_prefix(0)
                self.cached.put_prefix(entered)

            def work(rows: Sequence[int]) -> Iterator[tuple[int, None]]:
                outputs = self._forward(rows, self._batch(rows), prefix_cache, logits=False)
                self.cached.put(rows, entered)
                if self.order[0] in rows:
                    first.append(outputs[list(rows).index(self.order[0])].hidden)
                yield from ((row, None) for row in rows)

            first: list[torch.Tensor] = []
            list(self.batch_size.stream(self.order, work))
        if not self._can_resume(first[-1]):
            self.cached.clear()

    def _can_resume(self, complete: torch.Tensor) -> bool:
        """Return whether a pass from cached states gives the complete pass's states.

        Layers of some architectures pass on more than hidden states.
        """
        row = self.order[0]
        start = self.cached.layers[-1]
        batch = self._batch([row])
        states = self.cached.padded(start, [row], batch.ids.shape[1])
        try:
            prefix_cache = self._run_prefix(start) if self.prefix else None
            with self._beginning_at(start, states):
                resumed = self._forward([row], batch, prefix_cache, logits=False)[0].hidden
        except Exception as error:  # the complete pass went well, so a layer lacks what those below it pass on
            if is_out_of_memory(error):
                raise
            return False
        distance = (resumed.float() - complete.float()).norm() / complete.float().norm()
        return bool(distance <= TOLERANCE.get(complete.dtype, 1e-3))

    def _run_prefix(self, start: int, end: int | None = None) -> DynamicCache:
        """Return the prefix's keys and values in the layers from ``start`` to ``end``, and zeros in the others."""
        states = self.cached.prefix_states(start) if start else None
        with self._beginning_at(start, states), ending_at(self.model, self.anatomy.layers, end, [], stop=True):
            return run_prefix(self.model, self.prefix)

    def _forward(
        self,
        rows: Sequence[int],
        batch: PaddedBatch,
        prefix_cache: DynamicCache | None,
        logits: bool,
        last_layer: int | None = None,
    ) -> list[TokenOutputs]:
        answers = [len(self.texts[row].answer_ids) for row in rows]
        wanted = max(answers) + 1
        cache = expand_cache(prefix_cache, len(rows)) if prefix_cache is not None else None
        options = accepted(self.model, logits_to_keep=last_tokens(wanted))
        leaving: list[torch.Tensor] = []
        of_tokens: Any = None
        ending = ending_at(self.model, self.anatomy.layers, last_layer, leaving, stop=not logits)
        with ending, suppress(EndReached):
            of_tokens = run_batch(self.model, batch, batch.full_mask, cache, **options).logits[:, -wanted:]
        hidden = leaving[0][:, -wanted:]
        if not torch.isfinite(hidden).all():
            raise InputError(f"{self.loaded.name}: its output is not finite. Use --dtype float32 or bfloat16.")
        return [
            TokenOutputs(hidden[i, -count - 1 :], None if of_tokens is None else of_tokens[i, -count - 1 :])
            for i, count in enumerate(answers)
        ]

    def _beginning_at(self, start: int, states: torch.Tensor | None) -> AbstractContextManager[None]:
        return beginning_at(self.anatomy.layers, start, states, self._forms)
