"""Candidate directions of false refusal, the selection of one, and its ablation while the model runs."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch.nn import functional

from prosafeprune.baselines.first_token_probabilities import FirstTokenProbabilities, mean_divergence
from prosafeprune.baselines.method import FitContext, ModelChange
from prosafeprune.errors import NotApplicableError
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.residual_stream import changed_inputs, changed_outputs, writers
from prosafeprune.prompts import PromptClass

EPSILON = 1e-8
"""As in the published code."""
NEVER_REFUSED = math.log(1e-4)
"""Refusal score of a first token that begins a refusal with a probability of 0.01 %."""


class DirectionMethod(ModelChange):
    """A method that selects a direction, by these settings."""

    prompts: int = Field(128, ge=1, description="Prompts of each class that directions are computed from.")
    validation: int = Field(32, ge=1, description="Validation prompts of each class that one is selected by.")
    divergence: float = Field(0.1, gt=0, description="KL divergence on benign prompts that is allowed, in nats.")
    upper_layers: float = Field(
        0.2, ge=0, lt=1, description="Fraction of the layers, from the top, without candidates."
    )


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
    """Mean refusal score of the prompts that should no longer be refused, with the direction ablated."""
    refusal_score_before: float
    divergence: float
    """Mean divergence from the unchanged model on benign prompts, in nats."""
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
    method: DirectionMethod,
    title: str,
    context: FitContext,
    directions: torch.Tensor,
    first_tokens: FirstTokenProbabilities,
    refused_class: PromptClass,
    applied: Callable[[torch.Tensor], AbstractContextManager[None]],
) -> SelectedDirection:
    """Return the one of ``directions (positions, layers, d)`` with the lowest refusal score on a class.

    Its divergence on benign prompts is within what the method allows.

    The divergence costs as much as the score, so candidates are checked in the order of their scores up to the first
    that passes; the selection is the same.

    Args:
        applied: returns the context in which the method has the model with a direction ``(d,)``: what is scored is what
            will answer.

    Raises:
        NotApplicableError: no candidate passes.
    """
    refused, benign = (
        context.validation[prompt_class].sample(method.validation, context.seed).texts
        for prompt_class in (refused_class, PromptClass.BENIGN)
    )
    candidates = candidate_directions(directions, int(context.anatomy.num_layers * (1 - method.upper_layers)))
    scored: list[tuple[float, Candidate]] = []
    with context.reporter.stage(f"{title}: candidates", len(candidates)) as advance:
        for candidate in candidates:
            with applied(candidate.direction):
                score = float(first_tokens.refusal_scores(refused).mean())
            if not math.isnan(score):
                scored.append((score, candidate))
            advance(1)
        scores = first_tokens.refusal_scores(refused)
        before = float(scores.mean())
        if float(scores.max()) < NEVER_REFUSED:
            context.reporter.warning(
                f"{title}: the first token of no answer to {refused_class.in_words} prompts likely begins a refusal, "
                "as where answers begin with a thought or a channel. The direction is chosen by differences without "
                "meaning."
            )
        benign_before = first_tokens.probabilities(benign)
        for score, candidate in sorted(scored, key=lambda pair: pair[0]):
            with applied(candidate.direction):
                divergence = mean_divergence(benign_before, first_tokens.probabilities(benign))
            if divergence <= method.divergence:
                return SelectedDirection(candidate, score, before, divergence, len(candidates))
    raise NotApplicableError(
        f"{title}: ablating any of {len(candidates)} directions moves the answers to benign prompts by more than "
        f"{method.divergence} nats. Allow more with its setting divergence, or leave the method out."
    )


@contextmanager
def ablated(anatomy: Anatomy, direction: torch.Tensor) -> Iterator[None]:
    """Ablate a unit ``direction (d,)`` from the input of each layer and from the outputs of attention and MLP.

    ``x' = x - (x . r) r``, inside the context.
    """

    def ablate(states: torch.Tensor) -> torch.Tensor:
        unit = direction.to(states.device, states.dtype)
        return states - (states @ unit)[..., None] * unit

    written = dict(enumerate(writers(anatomy)))
    with changed_inputs(list(anatomy.layers), ablate), changed_outputs(written, lambda number: ablate):
        yield
