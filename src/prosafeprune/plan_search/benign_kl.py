"""The benign KL of a plan, by passes that start at the first pruned layer."""

from collections.abc import Sequence

import torch

from prosafeprune.evaluation.divergence import record_base_answers, token_divergence
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.resume import ForcedText, ResumedModel
from prosafeprune.progress import Advance, ignore


class BenignKl:
    """The base model's answers to benign prompts, with the distributions that edited models are compared to."""

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
        """Decode the base model's greedy answers of at most ``tokens`` tokens; keep the states entering ``layers``.

        Raises:
            InputError: as for ``record_base_answers`` and ``ResumedModel``.
        """
        self.base = record_base_answers(loaded, prompts, batch_size, advance, tokens=tokens)
        texts = [ForcedText(*both) for both in zip(self.base.prompt_ids, self.base.answers, strict=True)]
        self.model = ResumedModel(loaded, anatomy, texts, layers, batch_size)

    @torch.inference_mode()
    def mean(self, first_layer: int) -> float:
        """Return the mean over prompts of the mean per-token KL(base || edited) in nats, as ``divergence_from_base``.

        Args:
            first_layer: no layer below it has changed.
        """
        means = []
        for row, outputs in self.model.run(first_layer, logits=True):
            assert outputs.logits is not None
            base = self.base.log_probabilities[row, : len(outputs.logits)].to(outputs.logits.device)
            means.append(float(token_divergence(base, outputs.logits).mean()))
        return sum(means) / len(means)
