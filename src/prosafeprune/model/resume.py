"""Forward passes that begin at a layer: an edit of layer ``l`` leaves everything below ``l`` as it was.

The hidden states that enter some layers are kept from one pass of the source. To run an edited model, its own forward
stays in charge of embeddings, masks and positions, while the layers below the first edited one hand on what was kept
instead of computing it. Tokens that all prompts begin with are run once a pass, since the edit changes their keys and
values in the layers that run.
"""

from __future__ import annotations

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
    attention_window,
    expand_cache,
    fill_unrun_layers,
    last_tokens,
    pad_batch,
    shared_prefix_length,
)
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.partial_pass import EndReached, Forms, beginning_at, ending_at, recording
from prosafeprune.model.state_cache import StateCache, affordable_layers
from prosafeprune.progress import Advance, ignore

SAME = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Relative distance up to which two passes count as the same, by dtype: batches of other shapes round otherwise."""


@dataclass(frozen=True)
class ForcedText:
    """The tokens of a prompt, and answer tokens that are put behind them for the model to read."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """All tokens."""
        return self.prompt_ids + self.answer_ids


@dataclass(frozen=True)
class TokenOutputs:
    """What a model makes of the last prompt token and of each of ``n`` answer tokens, in its own dtype and device."""

    hidden: torch.Tensor
    """What the model's head reads, or what leaves the last layer that ran, ``(n + 1, d)``."""
    logits: torch.Tensor | None
    """``(n + 1, vocabulary)``, where asked for."""


class ResumedModel:
    """A model with texts whose hidden states are kept, so that later passes over them begin at any kept layer."""

    def __init__(
        self,
        loaded: LoadedModel,
        anatomy: Anatomy,
        texts: Sequence[ForcedText],
        layers: Sequence[int],
        batch_size: BatchSize,
        advance: Advance = ignore,
    ) -> None:
        """Run the model once, as it is now, and keep the states that enter ``layers``.

        Args:
            loaded: the model with its source weights.
            anatomy: its layers.
            texts: at least one.
            layers: layers that later passes may begin at; when memory is short, only some, the earliest among them.
                Without any, nothing is run until :meth:`run`.
            batch_size: how many texts run at a time.
            advance: told of each text that is done.

        Raises:
            InputError: out of memory, the output is not finite, or no room for the states.
        """
        self.loaded, self.anatomy, self.texts, self.batch_size = loaded, anatomy, list(texts), batch_size
        self.model, self.device = loaded.model, loaded.device
        self.order = sorted(range(len(texts)), key=lambda row: len(texts[row].ids), reverse=True)
        self.head = self._head_length()
        self._forms: Forms = {}
        lengths = [len(text.ids) - self.head for text in texts]
        width = int(self.model.get_input_embeddings().weight.shape[1])
        kept = affordable_layers(sorted({layer for layer in layers if layer > 0}), sum(lengths) + self.head, width)
        self.kept = StateCache(kept, lengths)
        if kept:
            self._keep(advance)

    @property
    def starts(self) -> tuple[int, ...]:
        """Layers at which passes may begin, 0 among them."""
        return (0, *self.kept.layers)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def run(
        self, first_layer: int, last_layer: int | None = None, *, logits: bool = False
    ) -> Iterator[tuple[int, TokenOutputs]]:
        """Yield each text's row and reading, longest texts first.

        Args:
            first_layer: no layer below it has changed since the states were kept.
            last_layer: the last to run; None for all, and the norm behind them.
            logits: whether the head is run as well; then all layers are.

        Raises:
            InputError: out of memory, or the output is not finite.
        """
        start = max(layer for layer in self.starts if layer <= first_layer)
        end = None if logits else last_layer
        head_cache = self._run_head(start, end) if self.head else None

        def work(rows: Sequence[int]) -> Iterator[tuple[int, TokenOutputs]]:
            batch = self._batch(rows)
            states = self.kept.padded(start, rows, batch.ids.shape[1]) if start else None
            with self._beginning_at(start, states):
                outputs = self._forward(rows, batch, head_cache, logits, end)
            yield from zip(rows, outputs, strict=True)

        yield from self.batch_size.stream(self.order, work)

    def _head_length(self) -> int:
        longest = max(len(text.ids) for text in self.texts)
        window = attention_window(self.model)
        if window is not None and longest > window:
            return 0  # padding between head and tail takes up places such attention counts
        shared = shared_prefix_length(self.model, [text.ids for text in self.texts])
        return min(shared, min(len(text.prompt_ids) for text in self.texts) - 1)

    def _batch(self, rows: Sequence[int]) -> PaddedBatch:
        # Padded on the left, so that the last positions of all rows lie together.
        return pad_batch([self.texts[row].ids[self.head :] for row in rows], self.head, "left", self.device)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _keep(self, advance: Advance) -> None:
        head_cache = None
        with recording(self.anatomy.layers, self.kept.layers, self._forms) as entered:
            if self.head:
                head_cache = self._run_head(0)
                self.kept.put_head(entered)

            def work(rows: Sequence[int]) -> Iterator[tuple[int, None]]:
                outputs = self._forward(rows, self._batch(rows), head_cache, logits=False)
                self.kept.put(rows, entered)
                if self.order[0] in rows:
                    first.append(outputs[list(rows).index(self.order[0])].hidden)
                yield from ((row, None) for row in rows)

            first: list[torch.Tensor] = []
            for _ in self.batch_size.stream(self.order, work):
                advance(1)
        if self.kept.layers and not self._resumes(first[-1]):
            self.kept.forget()

    def _resumes(self, whole: torch.Tensor) -> bool:
        """Tell whether a pass from kept states ends as the whole pass did: some architectures hand on more than one."""
        row = self.order[0]
        start = self.kept.layers[-1]
        head_cache = self._run_head(start) if self.head else None
        batch = self._batch([row])
        try:
            with self._beginning_at(start, self.kept.padded(start, [row], batch.ids.shape[1])):
                resumed = self._forward([row], batch, head_cache, logits=False)[0].hidden
        except (TypeError, AttributeError, IndexError, KeyError):
            return False
        distance = (resumed.float() - whole.float()).norm() / whole.float().norm()
        return bool(distance <= SAME.get(whole.dtype, 1e-3))

    def _run_head(self, start: int, end: int | None = None) -> DynamicCache:
        """Return the keys and values of the shared head; outside ``start`` to ``end`` dummies of the same length."""
        cache = DynamicCache(config=self.model.config)
        ids = torch.tensor([list(self.texts[0].ids[: self.head])], device=self.device)
        with (
            self._beginning_at(start, self.kept.head_states(start) if start else None),
            ending_at(self.model, self.anatomy.layers, end, [], stop=True),
            suppress(EndReached),
        ):
            self.model(input_ids=ids, past_key_values=cache, use_cache=True)
        dummy = torch.zeros(1, 1, self.head, 1, device=self.device, dtype=self.loaded.run_dtype)
        fill_unrun_layers(cache, self.anatomy.num_layers, dummy)
        return cache

    def _forward(
        self, rows: Sequence[int], batch: PaddedBatch, head_cache: Any, logits: bool, last_layer: int | None = None
    ) -> list[TokenOutputs]:
        answers = [len(self.texts[row].answer_ids) for row in rows]
        wanted = max(answers) + 1
        mask = torch.cat([batch.mask.new_ones(len(rows), self.head), batch.mask], dim=1)
        read: list[torch.Tensor] = []
        with ending_at(self.model, self.anatomy.layers, last_layer, read, stop=not logits):
            try:
                output = self.model(
                    input_ids=batch.ids,
                    attention_mask=mask,
                    past_key_values=expand_cache(head_cache, len(rows)) if head_cache is not None else None,
                    use_cache=head_cache is not None,
                    **accepted(self.model, position_ids=batch.positions, logits_to_keep=last_tokens(wanted)),
                )
                words = output.logits[:, -wanted:]
            except EndReached:
                words = None
        hidden = read[0][:, -wanted:]
        if not torch.isfinite(hidden).all():
            raise InputError(f"{self.loaded.name}: its output is not finite. Use --dtype float32 or bfloat16.")
        return [
            TokenOutputs(hidden[place, -count - 1 :], None if words is None else words[place, -count - 1 :])
            for place, count in enumerate(answers)
        ]

    def _beginning_at(self, start: int, states: torch.Tensor | None) -> AbstractContextManager[None]:
        return beginning_at(self.anatomy.layers, start, states, self._forms)
