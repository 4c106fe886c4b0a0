"""Pooled activations of every submodule from one forward pass (section 3.2, the matrices A).

Pooling by mean is linear, so the pooled output of a submodule is ``W mean(h) + b``: it is enough to pool inputs, and
matrices that read the same tensor (q, k and v; gate and up) share one. Tokens that all prompts begin with are run once,
since under causal attention their activations are the same for every prompt. An expert's mean is over the tokens routed
to it.

A pass may run one layer alone, its inputs given: :class:`Segment`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from prosafeprune.activations.expert_inputs import ExpertInputs, ExpertTokens, pool_expert_tokens
from prosafeprune.activations.pooling import token_weights
from prosafeprune.activations.recorder import Recorder
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import (
    BatchSize,
    PaddedBatch,
    accepted,
    expand_cache,
    fill_unrun_layers,
    pad_batch,
    shared_prefix_length,
)
from prosafeprune.model.chat import EncodedPrompt
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Advance


@dataclass(frozen=True)
class PooledInputs:
    """Pooled inputs of submodules, for prompts in the order they were given."""

    by_module: dict[str, torch.Tensor]
    """For each module name a matrix ``(prompts, d_in)``, float32, on the CPU; modules with one input share one."""
    batch_sizes: tuple[int, ...]
    """How many prompts ran at a time, in order; results depend on it in the last bits."""
    prefix_length: int
    """How many leading tokens were run once for all prompts."""
    routed: ExpertInputs = field(default_factory=ExpertInputs)
    """What experts read, each of the prompts that reach it."""

    def outputs(self, submodule: Submodule, weight: torch.Tensor, prompts: Sequence[int] | None = None) -> torch.Tensor:
        """Return the pooled activations ``A (d_out, n)`` of a submodule with weight ``W (d_out, d_in)``.

        Of those ``prompts`` that reach it, or of all that do; an expert is the only submodule that some do not reach.
        """
        if submodule.expert is not None:
            inputs = self.routed.of(submodule.reads, prompts)
        else:
            inputs = self.by_module[submodule.reads]
            inputs = inputs if prompts is None else inputs[list(prompts)]
        activations = weight @ inputs.to(weight.device).T
        bias = submodule.bias()
        return activations if bias is None else activations + bias.to(weight.device)[:, None]

    def reaching(self, submodule: Submodule, prompts: Sequence[int]) -> list[int]:
        """Return those of ``prompts`` that reach a submodule: all, unless it is an expert's."""
        if submodule.expert is None:
            return list(prompts)
        reached = set(self.routed.prompts.get(submodule.reads, ()))
        return [prompt for prompt in prompts if prompt in reached]


def _nothing_around(rows: Sequence[int] | None, width: int) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Segment:
    """The part of the model that is run: up to a layer, and from where whoever gives it lets passes begin."""

    last_layer: int
    around: Callable[[Sequence[int] | None, int], AbstractContextManager[None]] = _nothing_around
    """Entered around the pass over some rows, padded on the right to a width; None for the rows is the shared head."""


def collect_pooled_inputs(
    model: Any,
    anatomy: Anatomy,
    prompts: Sequence[EncodedPrompt],
    pooling: Pooling,
    layers: Sequence[int],
    batch_size: BatchSize,
    advance: Advance,
    segment: Segment | None = None,
) -> PooledInputs:
    """Run the prompts once through the model, up to the last of ``layers``, and pool the inputs of their submodules.

    Args:
        model: a causal language model.
        anatomy: its submodules.
        prompts: at least one.
        pooling: which tokens are averaged.
        layers: layer numbers whose submodules are wanted.
        batch_size: how many prompts to run at a time.
        advance: told of each prompt that is done.
        segment: the part of the model to run, where it is not all up to the last of ``layers``; these may then be none.

    Raises:
        InputError: a pooled input is not finite, or out of memory.
    """
    segment = segment or Segment(max(layers))
    recorder = Recorder([submodule for submodule in anatomy.submodules if submodule.layer in set(layers)])
    # Longest first: memory that is too small shows at once, and rows of a batch are of nearly one length.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    sizes: list[int] = []
    with torch.inference_mode(), recorder.listening(anatomy.layers[segment.last_layer]):
        collector = _Collector(model, recorder, prompts, pooling, segment)
        collector.run_head(anatomy.num_layers)
        for done in batch_size.run(order, collector.collect):
            sizes.append(done)
            advance(done)
    for name, matrix in collector.pooled.items():
        if not torch.isfinite(matrix).all():
            raise InputError(f"The input of {name} is not finite. Use --dtype float32 or bfloat16.")
    recorder.require_all_read()
    by_module = {name: collector.pooled[recorder.reads[name]] for name in recorder.modules}
    return PooledInputs(by_module, tuple(sizes), collector.head, collector.routed)


class _Collector:
    """Runs prompts behind their shared head, batch by batch, and keeps what is pooled of each."""

    def __init__(
        self, model: Any, recorder: Recorder, prompts: Sequence[EncodedPrompt], pooling: Pooling, segment: Segment
    ) -> None:
        self.model, self.recorder, self.prompts, self.segment = model, recorder, prompts, segment
        self.device = next(parameter.device for parameter in model.parameters() if not parameter.is_meta)
        self.head = shared_prefix_length(model, [prompt.ids for prompt in prompts])
        self.pooled: dict[str, torch.Tensor] = {}
        self.routed = ExpertInputs()
        self._weights = [token_weights(prompt, pooling) for prompt in prompts]
        self._head_cache = DynamicCache(config=model.config) if self.head else None
        self._head_inputs: dict[str, torch.Tensor] = {}
        self._head_routed: dict[str, ExpertTokens] = {}

    def run_head(self, num_layers: int) -> None:
        """Run what all prompts begin with, where there is such, through a model of so many layers."""
        if not self.head:
            return
        batch = pad_batch([self.prompts[0].ids[: self.head]], 0, "right", self.device)
        with self.segment.around(None, self.head):
            self._head_inputs = self.recorder.run(
                batch,
                lambda: _forward(self.model, batch, self._head_cache, 0),
                lambda hidden: hidden[0].clone(),
                self._head_routed.__setitem__,
            )
        dummy = torch.zeros(1, 1, self.head, 1, device=self.device, dtype=self.model.dtype)
        fill_unrun_layers(self._head_cache, num_layers, dummy)

    def collect(self, rows: Sequence[int]) -> None:
        """Run some of the prompts. Leaves nothing behind when it fails half-way."""
        batch = pad_batch([self.prompts[i].ids[self.head :] for i in rows], self.head, "right", self.device)
        cache = expand_cache(self._head_cache, len(rows)) if self.head else None
        weights = _split_weights([self._weights[i] for i in rows], self.head, batch.ids.shape[1])
        # Each layer's where it lies: a model may be spread over several GPUs.
        weights_on = functools.cache(lambda device: tuple(part.to(device) for part in weights))
        routed: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

        def pool_expert(name: str, tokens: ExpertTokens | None) -> None:
            head_weights, tail_weights = weights_on((tokens or self._head_routed[name]).read.device)
            reached, means = pool_expert_tokens(tail_weights, tokens, head_weights, self._head_routed.get(name))
            routed[name] = reached.cpu(), means.cpu()

        with self.segment.around(rows, batch.ids.shape[1]):
            found = self.recorder.run(
                batch,
                lambda: _forward(self.model, batch, cache, self.head),
                lambda hidden: torch.einsum("bt,btd->bd", weights_on(hidden.device)[1], hidden),
                pool_expert,
            )
        for name in self._head_routed:
            if name not in routed:  # the expert has tokens of the head alone
                pool_expert(name, None)
        for name, tail in found.items():
            total = tail + weights_on(tail.device)[0] @ self._head_inputs[name] if self.head else tail
            target = self.pooled.setdefault(name, torch.empty(len(self.prompts), total.shape[1]))
            target[list(rows)] = total.cpu()
        for name, (reached, means) in routed.items():
            self.routed.add(name, [rows[place] for place in reached.tolist()], means)


def _forward(model: Any, batch: PaddedBatch, cache: Any, head: int) -> None:
    """Run a padded batch behind ``head`` cached tokens."""
    rows = batch.ids.shape[0]
    mask = torch.cat([batch.mask.new_ones(rows, head), batch.mask], dim=1)
    model(
        input_ids=batch.ids,
        attention_mask=mask,
        past_key_values=cache,
        use_cache=cache is not None,
        **accepted(model, position_ids=batch.positions),
    )


def _split_weights(weights: Sequence[torch.Tensor], head: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights of head tokens ``(rows, head)`` and of right-padded tail tokens ``(rows, width)``."""
    tails = torch.zeros(len(weights), width)
    for row, weight in enumerate(weights):
        tails[row, : len(weight) - head] = weight[head:]
    return torch.stack([weight[:head] for weight in weights]), tails
