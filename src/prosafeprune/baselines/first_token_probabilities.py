"""The distribution of the first answer token: how likely a refusal is, and how far the distribution has moved."""

from collections.abc import Iterator, Sequence

import torch

from prosafeprune.generation.prefill import prefill
from prosafeprune.generation.prompt_batches import ChatPromptBatches
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel

SCORE_EPSILON = 1e-8
DIVERGENCE_EPSILON = 1e-6
"""As in the published code; they keep logarithms finite."""


class FirstTokenProbabilities:
    """Computes the distribution of the first answer token."""

    def __init__(self, loaded: LoadedModel, refusal_tokens: Sequence[int], batch_size: BatchSize) -> None:
        self.loaded, self.refusal_tokens, self.batch_size = loaded, list(refusal_tokens), batch_size

    @torch.inference_mode()
    def probabilities(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return the distributions ``(prompts, vocabulary)``, float64. Raises InputError when out of memory."""
        batches = ChatPromptBatches(self.loaded, prompts, 0)
        order = sorted(range(len(prompts)), key=lambda row: batches.lengths[row], reverse=True)
        found: dict[int, torch.Tensor] = {}

        def work(rows: Sequence[int]) -> Iterator[tuple[int, None]]:
            logits = prefill(self.loaded, batches.suffixes(rows), batches.prefix).logits
            found.update(zip(rows, logits.cpu().double().softmax(dim=-1), strict=True))
            yield from ((row, None) for row in rows)

        for _ in self.batch_size.stream(order, work):
            pass
        return torch.stack([found[row] for row in range(len(prompts))])

    def refusal_scores(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return the log odds ``(prompts,)`` that the answer begins with a refusal."""
        refusal = self.probabilities(prompts)[:, self.refusal_tokens].sum(dim=-1)
        return torch.log(refusal + SCORE_EPSILON) - torch.log(1 - refusal + SCORE_EPSILON)


def mean_divergence(before: torch.Tensor, after: torch.Tensor) -> float:
    """Return ``KL(before || after)`` in nats, averaged over the rows of two ``(prompts, vocabulary)`` matrices."""
    ratio = torch.log(before + DIVERGENCE_EPSILON) - torch.log(after + DIVERGENCE_EPSILON)
    return float((before * ratio).sum(dim=-1).mean())
