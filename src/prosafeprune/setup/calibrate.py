"""Calibration: the pooled inputs of the calibration prompts, and the edits made from them."""

from collections.abc import Sequence
from typing import Any, Literal

import torch

from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs
from prosafeprune.activations.shards import CollectShard, merge_shards
from prosafeprune.editing.edits import PruningEdit
from prosafeprune.editing.make_edits import make_edits
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import EncodedPrompt, encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.replicas import ReplicatedModel
from prosafeprune.progress import Advance, Reporter
from prosafeprune.prompts import PromptClass
from prosafeprune.setup.kept_inputs import KeptInputs
from prosafeprune.setup.prompt_sets import PromptSets

ClassRows = dict[PromptClass, Sequence[int]]
"""Which rows of the pooled inputs belong to each class."""


def encode_classes(tokenizer: Any, calibration: PromptSets) -> tuple[list[EncodedPrompt], ClassRows]:
    """Return the prompts of all classes as the model sees them, and which of them belong to each class.

    Raises:
        InputError: the chat template fails on a plain user turn.
    """
    texts: list[str] = []
    class_rows: ClassRows = {}
    for prompt_class, prompts in calibration.items():
        class_rows[prompt_class] = range(len(texts), len(texts) + len(prompts))
        texts += prompts.texts
    return encode_prompts(tokenizer, texts), class_rows


def collect_inputs(
    loaded: LoadedModel,
    anatomy: Anatomy,
    calibration: PromptSets,
    poolings: Sequence[Pooling],
    layers: Sequence[int],
    batch_size: int | Literal["auto"],
    reporter: Reporter,
    model_sha256: str | None = None,
    split: str = "calibration",
) -> tuple[dict[Pooling, PooledInputs], ClassRows]:
    """Run the prompts of all three classes once, up to the last of ``layers``; pool what their matrices read.

    With ``model_sha256``, the hash of the base model whose weights ``loaded`` has, inputs are kept in the cache.
    ``split`` is what the prompts are called while they run.

    Raises:
        InputError: an input is not finite, or out of memory.
    """
    encoded, class_rows = encode_classes(loaded.tokenizer, calibration)
    kept = KeptInputs(model_sha256, loaded, encoded, batch_size) if model_sha256 is not None else None
    known = kept.read(anatomy, poolings, layers) if kept is not None else None
    if known is not None:
        reporter.note(f"Activations of the {split} prompts: known from an earlier run.")
        return known, class_rows
    with reporter.stage(f"Activations of the {split} prompts", len(encoded)) as advance:
        if isinstance(loaded, ReplicatedModel):
            task = CollectShard(encoded, tuple(poolings), list(layers), batch_size, anatomy.has_experts)
            collected = _collect_shared(loaded, task, advance)
        else:
            size = BatchSize(batch_size, loaded.device)
            collected = collect_pooled_inputs(loaded.model, anatomy, encoded, poolings, layers, size, advance)
    if kept is not None:
        kept.write(anatomy, collected, layers)
    return collected, class_rows


def _collect_shared(loaded: ReplicatedModel, task: CollectShard, advance: Advance) -> dict[Pooling, PooledInputs]:
    """Collect with a model and its replicas, each running its share of the prompts."""
    shares = loaded.replicas.deal([len(prompt) for prompt in task.prompts])
    parts = {}
    for rank, part in loaded.replicas.share(task, shares, task(loaded, shares[0], advance)):
        parts[rank] = part
        if rank:
            advance(len(shares[rank]))
    return {pooling: merge_shards([parts[rank][pooling] for rank in sorted(parts)]) for pooling in task.poolings}


def calibrate(
    loaded: LoadedModel,
    anatomy: Anatomy,
    plan: Plan,
    calibration: PromptSets,
    batch_size: int | Literal["auto"],
    reporter: Reporter,
    model_sha256: str | None = None,
) -> tuple[PooledInputs, list[PruningEdit]]:
    """Collect the pooled inputs that a plan needs, and make its edits from them."""
    collected, class_rows = collect_inputs(
        loaded, anatomy, calibration, [plan.pooling], plan.layers, batch_size, reporter, model_sha256
    )
    inputs = collected[plan.pooling]
    total = sum(len(anatomy.of_layer(layer)) for layer in plan.layers)
    with reporter.stage("Subspaces", total) as advance, torch.inference_mode():
        return inputs, make_edits(anatomy, plan, inputs, class_rows, advance)
