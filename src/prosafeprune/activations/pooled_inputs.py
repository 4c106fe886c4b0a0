"""Pooled activations of every submodule from one forward pass (section 3.2, the matrices A).

Pooling by mean is linear, so the pooled output of a submodule is ``W mean(h) + b``: pooling the inputs is enough, and
matrices that read the same tensor (q, k and v; gate and up) share one. The prefix shared by all prompts is run once. An
expert's mean is over the tokens routed to it.

A pass may run a single layer on given inputs: :class:`Segment`.
"""

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache, PreTrainedModel

from prosafeprune.activations.expert_inputs import ExpertInputs, ExpertTokens, pool_expert_tokens
from prosafeprune.activations.recorder import Recorder
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize, pad_batch, run_batch
from prosafeprune.model.chat_template import EncodedPrompt
from prosafeprune.model.prefix_cache import expand_cache, run_prefix, shared_prefix_length
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Advance


def token_weights(prompt: EncodedPrompt, pooling: Pooling) -> torch.Tensor:
    """Return the weight of each token, ``(tokens,)``, float32, summing to 1."""
    start, end = {
        Pooling.SEQUENCE: (0, len(prompt)),
        Pooling.TAIL: (prompt.user_start, len(prompt)),
        Pooling.USER: (prompt.user_start, prompt.user_end),
        Pooling.LAST: (len(prompt) - 1, len(prompt)),
    }[pooling]
    weights = torch.zeros(len(prompt))
    weights[start:end] = 1 / (end - start)
    return weights


@dataclass(frozen=True)
class PooledInputs:
    """Pooled inputs of submodules, one row per prompt, in the prompts' order."""

    by_module: dict[str, torch.Tensor]
    """The matrix ``(prompts, d_in)`` of each module, float32, on the CPU; modules that read one tensor share it."""
    batch_sizes: tuple[int, ...]
    """Size of each batch, in order; results depend on it in the last bits."""
    prefix_length: int
    """Number of tokens in the shared prefix, which was run once."""
    routed: ExpertInputs = field(default_factory=ExpertInputs)
    """Inputs of experts, each pooled over the prompts that reach it."""

    def outputs(self, submodule: Submodule, weight: torch.Tensor, prompts: Sequence[int] | None = None) -> torch.Tensor:
        """Return the pooled activations ``A (d_out, n)`` of a submodule with weight ``W (d_out, d_in)``.

        The columns are those of ``prompts`` (None: all) that reach it; only experts are not reached by every prompt.
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
        """Return those of ``prompts`` that reach a submodule: all of them unless it is an expert."""
        if submodule.expert is None:
            return list(prompts)
        reached = set(self.routed.prompts.get(submodule.reads, ()))
        return [prompt for prompt in prompts if prompt in reached]


@dataclass(frozen=True)
class Segment:
    """The part of the model that is run: up to a layer, beginning wherever ``around`` makes passes begin."""

    last_layer: int
    around: Callable[[Sequence[int] | None, int], AbstractContextManager[None]] = lambda rows, width: nullcontext()
    """Returns the context of a pass, given its rows (None: the shared prefix) and the width they are padded to."""


def collect_pooled_inputs(
    model: PreTrainedModel,
    anatomy: Anatomy,
    prompts: Sequence[EncodedPrompt],
    poolings: Sequence[Pooling],
    layers: Sequence[int],
    batch_size: BatchSize,
    advance: Advance,
    segment: Segment | None = None,
) -> dict[Pooling, PooledInputs]:
    """Run the prompts once through the model, up to the last of ``layers``, and pool the inputs of their submodules.

    Args:
        prompts: at least one.
        poolings: which tokens are averaged; each kind is pooled in the same pass.
        layers: the layers whose submodules are wanted.
        advance: called after each batch with the number of its prompts.
        segment: the part of the model to run, if not everything up to the last of ``layers``, which may then be empty.

    Raises:
        InputError: a pooled input is not finite, a prompt is longer than the model's positions, or out of memory.
    """
    segment = segment or Segment(max(layers))
    recorder = Recorder([submodule for submodule in anatomy.submodules if submodule.layer in set(layers)])
    # Longest first: running out of memory shows at once, and the rows of a batch have similar lengths.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    sizes: list[int] = []
    with torch.inference_mode(), recorder.recording(anatomy.layers[segment.last_layer]):
        collector = _Collector(model, recorder, prompts, poolings, segment)
        collector.run_prefix()
        for done in batch_size.run(order, collector.collect):
            sizes.append(done)
            advance(done)
    for name, matrix in collector.pooled.items():
        if not torch.isfinite(matrix).all():
            raise InputError(f"The input of {name} is not finite. Use --dtype float32 or bfloat16.")
    recorder.require_all_read()
    collected = {}
    for index, (pooling, routed) in enumerate(zip(poolings, collector.routed, strict=True)):
        matrices = {name: pooled[index] for name, pooled in collector.pooled.items()}
        by_module = {name: matrices[recorder.reads[name]] for name in recorder.modules}
        collected[pooling] = PooledInputs(by_module, tuple(sizes), len(collector.prefix), routed)
    return collected


class _Collector:
    """Runs the prompts after their shared prefix, batch by batch, and collects their pooled inputs."""

    def __init__(
        self,
        model: PreTrainedModel,
        recorder: Recorder,
        prompts: Sequence[EncodedPrompt],
        poolings: Sequence[Pooling],
        segment: Segment,
    ) -> None:
        self.model, self.recorder, self.prompts, self.segment = model, recorder, prompts, segment
        self.device = next(parameter.device for parameter in model.parameters() if not parameter.is_meta)
        self.prefix = prompts[0].ids[: shared_prefix_length(model, [prompt.ids for prompt in prompts], "right")]
        self.pooled: dict[str, torch.Tensor] = {}
        """Pooled inputs by name, ``(poolings, prompts, d_in)``."""
        self.routed = [ExpertInputs() for _ in poolings]
        self._weights = [torch.stack([token_weights(prompt, pooling) for pooling in poolings]) for prompt in prompts]
        self._prefix_cache: DynamicCache | None = None
        self._prefix_inputs: dict[str, torch.Tensor] = {}
        self._prefix_routed: dict[str, ExpertTokens] = {}

    def run_prefix(self) -> None:
        """Run the shared prefix, if there is one."""
        if not self.prefix:
            return

        def forward() -> None:
            self._prefix_cache = run_prefix(self.model, self.prefix)

        length = len(self.prefix)
        with self.segment.around(None, length):
            self._prefix_inputs = self.recorder.run(
                (1, length), forward, lambda hidden: hidden[0].clone(), self._prefix_routed.__setitem__
            )

    def collect(self, rows: Sequence[int]) -> None:
        """Run a batch; on failure, leave the collected inputs unchanged."""
        length = len(self.prefix)
        batch = pad_batch([self.prompts[i].ids[length:] for i in rows], length, "right", self.device)
        cache = expand_cache(self._prefix_cache, len(rows)) if self._prefix_cache is not None else None
        weights = _split_weights([self._weights[i] for i in rows], length, batch.ids.shape[1])
        # On the device of each layer: a model may be spread over several GPUs.
        weights_on = functools.cache(lambda device: tuple(part.to(device) for part in weights))
        routed: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

        def pool_expert(name: str, tokens: ExpertTokens | None) -> None:
            prefixes, suffixes = weights_on((tokens or self._prefix_routed[name]).inputs.device)
            routed[name] = [
                pool_expert_tokens(suffix, tokens, prefix, self._prefix_routed.get(name))
                for prefix, suffix in zip(prefixes, suffixes, strict=True)
            ]

        with self.segment.around(rows, batch.ids.shape[1]):
            found = self.recorder.run(
                (len(rows), batch.ids.shape[1]),
                lambda: run_batch(self.model, batch, batch.full_mask, cache),
                lambda hidden: torch.einsum("kbt,btd->kbd", weights_on(hidden.device)[1], hidden),
                pool_expert,
            )
        for name in self._prefix_routed:
            if name not in routed:  # only tokens of the prefix are routed to this expert
                pool_expert(name, None)
        for name, pooled in found.items():
            total = pooled + weights_on(pooled.device)[0] @ self._prefix_inputs[name] if self.prefix else pooled
            target = self.pooled.setdefault(name, torch.empty(len(total), len(self.prompts), total.shape[2]))
            target[:, list(rows)] = total.cpu()
        for name, of_poolings in routed.items():
            for inputs, (reached, means) in zip(self.routed, of_poolings, strict=True):
                inputs.add(name, [rows[i] for i in reached.tolist()], means.cpu())


def _split_weights(weights: Sequence[torch.Tensor], prefix: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Split each row's weights ``(poolings, tokens)`` at the end of the prefix.

    Returns:
        Those of the prefix's tokens ``(poolings, rows, prefix)`` and of right-padded suffix tokens
        ``(poolings, rows, width)``.
    """
    suffixes = torch.zeros(len(weights[0]), len(weights), width)
    for row, weight in enumerate(weights):
        suffixes[:, row, : weight.shape[1] - prefix] = weight[:, prefix:]
    return torch.stack([weight[:, :prefix] for weight in weights], dim=1), suffixes
