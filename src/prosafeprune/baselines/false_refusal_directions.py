"""Candidate directions of false refusal, and the selection of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from prosafeprune.baselines.first_token_probabilities import FirstTokenProbabilities, mean_divergence
from prosafeprune.errors import NotApplicableError
from prosafeprune.progress import Advance
from prosafeprune.prompts import PromptClass

EPSILON = 1e-8
"""As in the published code."""
Ablate = Callable[[torch.Tensor], AbstractContextManager[None]]


@dataclass(frozen=True)
class Candidate:
    """A unit direction ``(d,)`` with its token position, counted from the prompt's end, and the layer it enters."""

    position: int
    layer: int
    direction: torch.Tensor


@dataclass(frozen=True)
class SelectedDirection:
    """The selected candidate with its scores on validation prompts."""

    candidate: Candidate
    refusal_score: float
    """Mean over the prompts that should no longer be refused, with the direction ablated."""
    refusal_score_before: float
    divergence: float
    """On the benign prompts, in nats."""
    candidates: int

    def describe(self) -> dict[str, Any]:
        """Return all but the direction, as plain JSON values."""
        return {
            "position": self.candidate.position,
            "layer": self.candidate.layer,
            "refusal_score": self.refusal_score,
            "refusal_score_before": self.refusal_score_before,
            "divergence": self.divergence,
            "candidates": self.candidates,
        }


def false_refusal_directions(means: Mapping[PromptClass, torch.Tensor], orthogonality: float) -> torch.Tensor:
    """Return unit directions ``(positions, layers, d)`` of false refusal without true refusal.

    With ``r`` the difference of means of harmful and benign prompts and ``w`` that of pseudo-harmful and benign ones:
    ``w - orthogonality (w . r) r / |r|^2``, normalised.
    """
    benign = means[PromptClass.BENIGN]
    true_refusal = means[PromptClass.HARMFUL] - benign
    false_refusal = means[PromptClass.PSEUDO_HARMFUL] - benign
    part = (false_refusal * true_refusal).sum(dim=-1, keepdim=True)
    square = true_refusal.square().sum(dim=-1, keepdim=True) + EPSILON
    # Where nothing differs, as at the embeddings of template tokens, noise must not become a direction.
    return functional.normalize(false_refusal - orthogonality * part / square * true_refusal, dim=-1, eps=EPSILON)


def candidate_directions(directions: torch.Tensor, end_layer: int) -> list[Candidate]:
    """Return those of ``directions (positions, layers, d)`` before a layer that are not zero.

    They are zero where nothing differs, as at the embeddings of template tokens.
    """
    positions = directions.shape[0]
    return [
        Candidate(position - positions, layer, directions[position, layer])
        for position in range(positions)
        for layer in range(end_layer)
        if directions[position, layer].any()
    ]


def select_direction(
    candidates: Sequence[Candidate],
    first_tokens: FirstTokenProbabilities,
    ablate: Ablate,
    refused: Sequence[str],
    benign: Sequence[str],
    most_divergence: float,
    advance: Advance,
    title: str,
) -> SelectedDirection:
    """Return the candidate with the lowest refusal score on ``refused`` within the allowed divergence on ``benign``.

    The divergence costs as much as the score, so candidates are checked in the order of their scores up to the first
    that passes; the selection is the same.

    Raises:
        NotApplicableError: no candidate passes.
    """
    scored: list[tuple[float, Candidate]] = []
    for candidate in candidates:
        with ablate(candidate.direction):
            score = float(first_tokens.refusal_scores(refused).mean())
        if not math.isnan(score):
            scored.append((score, candidate))
        advance(1)
    before = float(first_tokens.refusal_scores(refused).mean())
    benign_before = first_tokens.probabilities(benign)
    for score, candidate in sorted(scored, key=lambda pair: pair[0]):
        with ablate(candidate.direction):
            divergence = mean_divergence(benign_before, first_tokens.probabilities(benign))
        if divergence <= most_divergence:
            return SelectedDirection(candidate, score, before, divergence, len(candidates))
    raise NotApplicableError(
        f"{title}: ablating any of {len(candidates)} directions moves the answers to benign prompts by more than "
        f"{most_divergence} nats. Allow more with its setting divergence, or leave the method out."
    )
