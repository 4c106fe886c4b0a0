"""Pooled activations of every submodule from one forward pass (section 3.2, the matrices A).

Pooling by mean is linear, so the pooled output of a submodule is ``W mean(h) + b``: it is enough to pool inputs, and
matrices that read the same tensor (q, k and v; gate and up) share one. Tokens that all prompts begin with are run once,
since under causal attention their activations are the same for every prompt.

A pass may run one layer alone, its inputs given: :class:`Segment`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from prosafeprune.errors import InputError
from prosafeprune.method.pooling import Pooling, token_weights
from prosafeprune.model.anatomy import Anatomy, Submodule
from prosafeprune.model.batches import (
    BatchSize,
    PaddedBatch,
    accepted,
    expand_cache,
    fill_unrun_layers,
    pad_batch,
    shared_head_length,
)
from prosafeprune.model.chat import EncodedPrompt
from prosafeprune.progress import Advance


@dataclass(frozen=True)
class PooledInputs:
    """Pooled inputs of submodules, for prompts in the order they were given."""

    by_module: dict[str, torch.Tensor]
    """For each module name a matrix ``(prompts, d_in)``, float32, on the CPU; modules with one input share one."""
    batch_sizes: tuple[int, ...]
    """How many prompts ran at a time, in order; results depend on it in the last bits."""
    shared_head: int
    """How many leading tokens were run once for all prompts."""

    def outputs(self, submodule: Submodule, weight: torch.Tensor) -> torch.Tensor:
        """Return the pooled activations ``A (d_out, prompts)`` of a submodule with weight ``W (d_out, d_in)``."""
        activations = weight @ self.by_module[submodule.module_name].to(weight.device).T
        bias = submodule.bias()
        return activations if bias is None else activations + bias.to(weight.device)[:, None]


def _nothing_around(rows: Sequence[int] | None, width: int) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Segment:
    """The part of the model that is run: up to a layer, and from where whoever gives it lets passes begin."""

    last_layer: int
    around: Callable[[Sequence[int] | None, int], AbstractContextManager[None]] = _nothing_around
    """Entered around the pass over some rows, padded on the right to a width; None for the rows is the shared head."""


class _LastLayerReached(Exception):
    """Ends a forward pass from inside: nothing above the last layer asked for is computed."""


class _Recorder:
    """Hooks on the inputs of modules, which hand each tensor that is read, once, to ``pool``.

    Pooling happens in the hook: a layer may change its tensors afterwards, and keeping them would cost memory.
    """

    def __init__(self, submodules: Sequence[Submodule]) -> None:
        self.modules = {submodule.module_name: submodule.module for submodule in submodules}
        self.reads: dict[str, str] = {}
        """For each module the first module that reads the same tensor."""
        self.pool: Callable[[torch.Tensor], torch.Tensor] = torch.clone
        self.pooled: dict[str, torch.Tensor] = {}
        self.shape = (0, 0)
        """Rows and tokens of the pass that runs."""
        self._latest: tuple[str, torch.Tensor] | None = None

    @contextmanager
    def listening(self, last_layer: torch.nn.Module) -> Iterator[None]:
        handles = [module.register_forward_pre_hook(self._hook(name)) for name, module in self.modules.items()]
        handles.append(last_layer.register_forward_hook(self._stop))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Any:
        def record(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            hidden = arguments[0]
            if self._latest is not None and self._latest[1] is hidden:
                self.reads[name] = self._latest[0]
            else:
                self.reads[name] = name
                self.pooled[name] = self.pool(self._by_token(name, hidden).float())
                self._latest = (name, hidden)

        return record

    def _by_token(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        """Return what a module reads as ``(rows, tokens, d_in)``; some architectures flatten rows and tokens."""
        rows, tokens = self.shape
        if hidden.numel() != rows * tokens * hidden.shape[-1]:
            raise InputError(
                f"{name} reads a tensor of shape {tuple(hidden.shape)}, which is not one row a token: not supported."
            )
        return hidden.reshape(rows, tokens, hidden.shape[-1])

    @staticmethod
    def _stop(module: torch.nn.Module, arguments: Any, output: Any) -> None:
        raise _LastLayerReached

    def run(
        self, batch: PaddedBatch, forward: Callable[[], None], pool: Callable[[torch.Tensor], torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Run a forward pass over ``batch``; return by module name what ``pool`` makes of each input."""
        self.pool, self.pooled, self._latest = pool, {}, None
        self.shape = (batch.ids.shape[0], batch.ids.shape[1])
        try:
            forward()
        except _LastLayerReached:
            pass
        finally:
            self._latest = None
        return self.pooled


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
    recorder = _Recorder([submodule for submodule in anatomy.submodules if submodule.layer in set(layers)])
    last_layer = anatomy.layers[segment.last_layer]
    device = next(parameter.device for parameter in model.parameters() if not parameter.is_meta)
    head = shared_head_length(model, [prompt.ids for prompt in prompts])
    weights = [token_weights(prompt, pooling) for prompt in prompts]
    # Longest first: memory that is too small shows at once, and rows of a batch are of nearly one length.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    pooled: dict[str, torch.Tensor] = {}
    sizes: list[int] = []

    with torch.inference_mode(), recorder.listening(last_layer):
        head_cache, head_inputs = None, {}
        if head:
            head_cache = DynamicCache(config=model.config)
            head_batch = pad_batch([prompts[0].ids[:head]], 0, "right", device)
            with segment.around(None, head):
                head_inputs = recorder.run(
                    head_batch, lambda: _forward(model, head_batch, head_cache, 0), lambda hidden: hidden[0].clone()
                )
            dummy = torch.zeros(1, 1, head, 1, device=device, dtype=model.dtype)
            fill_unrun_layers(head_cache, anatomy.num_layers, dummy)

        def work(rows: Sequence[int]) -> None:
            batch = pad_batch([prompts[i].ids[head:] for i in rows], head, "right", device)
            cache = expand_cache(head_cache, len(rows)) if head else None
            head_weights, tail_weights = _split_weights([weights[i] for i in rows], head, batch.ids.shape[1])
            head_weights, tail_weights = head_weights.to(device), tail_weights.to(device)
            with segment.around(rows, batch.ids.shape[1]):
                found = recorder.run(
                    batch,
                    lambda: _forward(model, batch, cache, head),
                    lambda hidden: torch.einsum("bt,btd->bd", tail_weights, hidden),
                )
            for name, tail in found.items():
                total = tail + head_weights @ head_inputs[name] if head else tail
                target = pooled.setdefault(name, torch.empty(len(prompts), total.shape[1]))
                target[list(rows)] = total.cpu()

        for done in batch_size.run(order, work):
            sizes.append(done)
            advance(done)

    for name, matrix in pooled.items():
        if not torch.isfinite(matrix).all():
            raise InputError(f"The input of {name} is not finite. Use --dtype float32 or bfloat16.")
    unread = [name for name in recorder.modules if name not in recorder.reads]
    if unread:
        raise InputError(f"{unread[0]} is not run by the model's forward pass: this architecture is not supported.")
    by_module = {name: pooled[first] for name, first in recorder.reads.items()}
    return PooledInputs(by_module, tuple(sizes), head)


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
