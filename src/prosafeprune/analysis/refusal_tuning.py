"""A short LoRA fine-tune, in memory, that teaches a model to refuse: simulated excessive alignment (section 5.2).

The refusals are the model's own, so only their use is new to it. The result is a list of edits, applied and undone like
any others; the adapter is removed when the tuning ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from prosafeprune.editing.edits import LowRankEdit
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Advance
from prosafeprune.training.examples import Example, answer_loss
from prosafeprune.training.loop import Tuning, train
from prosafeprune.training.lora import lora, trainable_matrices


@dataclass(frozen=True)
class Tuned:
    """The learned edits and the training losses."""

    edits: list[LowRankEdit]
    losses: list[float]
    """Mean loss of each epoch, in nats per token of the refusals, before the step of each batch."""


def tune(loaded: LoadedModel, anatomy: Anatomy, examples: Sequence[Example], tuning: Tuning, advance: Advance) -> Tuned:
    """Fine-tune low-rank additions to every submodule's matrix on the examples' answers.

    The model is left unchanged, bit for bit and in its structure.

    Args:
        loaded: the model, with the weights to tune.
        anatomy: its submodules.
        examples: at least one.
        tuning: the hyperparameters.
        advance: called after each batch with its number of examples.

    Raises:
        InputError: the weights are quantised.
    """
    with lora(loaded.model, trainable_matrices(anatomy), tuning.rank, tuning.seed) as training:
        steps = train(training.parameters, examples, partial(answer_loss, loaded), tuning, advance)
        in_epoch = len(steps) // tuning.epochs
        epochs = [steps[start : start + in_epoch] for start in range(0, len(steps), in_epoch)]
        losses = [sum(step.loss * step.examples for step in epoch) / len(examples) for epoch in epochs]
        return Tuned(training.learned(), losses)
