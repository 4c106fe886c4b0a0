"""How far a plan moves a model on benign prompts, in passes that begin at the first pruned layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prosafeprune.evaluation.divergence import read_source, token_divergence
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.resume import ForcedText, ResumedModel
from prosafeprune.progress import Advance, ignore


class BenignKl:
    """The source's answers to benign prompts, against which edited models are read."""

    def __init__(
        self,
        loaded: LoadedModel,
        anatomy: Anatomy,
        layers: Sequence[int],
        prompts: Sequence[str],
        tokens: int,
        batch_size: BatchSize,
        advance: Advance = ignore,
    ) -> None:
        """Have the source's greedy answers of at most ``tokens`` tokens, and keep the states that enter ``layers``.

        Raises:
            InputError: as for ``read_source`` and ``ResumedModel``.
        """
        self.source = read_source(loaded, prompts, batch_size, advance, tokens=tokens)
        texts = [ForcedText(*both) for both in zip(self.source.prompt_ids, self.source.answers, strict=True)]
        self.model = ResumedModel(loaded, anatomy, texts, layers, batch_size)

    @torch.inference_mode()
    def divergence(self, first_layer: int) -> float:
        """Return the mean over prompts of the mean KL(source || model) in nats, as ``compare_with_source`` has it.

        Args:
            first_layer: no layer below it has changed.
        """
        means = []
        for row, outputs in self.model.run(first_layer, logits=True):
            assert outputs.logits is not None
            kept = self.source.log_probabilities[row, : len(outputs.logits)].to(outputs.logits.device)
            means.append(float(token_divergence(kept, outputs.logits).mean()))
        return sum(means) / len(means)
