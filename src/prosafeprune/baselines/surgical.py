"""Surgical (Wang et al. 2025): ablation of a single direction, that of false refusal.

Candidates are differences of mean hidden states, at each of the template's last tokens and before each layer. The
direction of false refusal (pseudo-harmful against benign prompts) is made orthogonal to that of true refusal (harmful
against benign ones). Selected is the one that makes refusals of pseudo-harmful validation prompts least likely while
the KL divergence of the first token's distribution on benign ones stays within a limit.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field

from prosafeprune.baselines.false_refusal_directions import (
    DirectionMethod,
    ablated,
    false_refusal_directions,
    select_direction,
)
from prosafeprune.baselines.first_token_probabilities import FirstTokenProbabilities
from prosafeprune.baselines.method import FitContext, FittedParts
from prosafeprune.baselines.published_prompts import REFUSAL_BEGINNINGS, REFUSAL_BEGINNINGS_OF
from prosafeprune.errors import NotApplicableError
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.prompts import PromptClass

FEWEST = 8
"""Prompts of a class that the model must treat as expected; the mean over fewer would be noise."""
EXPECTED_TO_REFUSE = {PromptClass.HARMFUL: True, PromptClass.PSEUDO_HARMFUL: True, PromptClass.BENIGN: False}


class Surgical(DirectionMethod):
    """Single vector ablation (Wang et al. 2025)."""

    name: ClassVar[str] = "surgical"
    orthogonality: float = Field(
        1.0, ge=0, le=1, description="How much of the direction of true refusal is removed from that of false refusal."
    )
    divergence: float = Field(0.2, gt=0, description="KL divergence on benign prompts that is allowed, in nats.")

    def fit(self, context: FitContext) -> FittedParts:
        """Select the direction ``(d,)``."""
        loaded = context.loaded
        first_tokens = FirstTokenProbabilities(loaded, refusal_tokens(loaded), context.forward_size)
        means, kept = {}, {}
        for prompt_class in PromptClass:
            texts = self._treated_as_expected(context, prompt_class, first_tokens)
            kept[prompt_class.value] = len(texts)
            means[prompt_class] = mean_template_states(context, texts, "Surgical: directions")
        directions = false_refusal_directions(means, self.orthogonality)
        selected = select_direction(
            self, "Surgical", context, directions, first_tokens, PromptClass.PSEUDO_HARMFUL, partial(_ablated, loaded)
        )
        return FittedParts(
            {"direction": selected.candidate.direction.float()}, {**selected.describe(), "prompts": kept}
        )

    def changes(self, loaded: LoadedModel, fitted: FittedParts) -> Callable[[], AbstractContextManager[None]]:
        """Return the context of the model with the direction ablated from its hidden states."""
        return partial(_ablated, loaded, fitted.tensors["direction"])

    def _treated_as_expected(
        self, context: FitContext, prompt_class: PromptClass, first_tokens: FirstTokenProbabilities
    ) -> Sequence[str]:
        """Return the prompts of a class that the model seems to refuse; of the benign class, those it does not."""
        texts = context.calibration[prompt_class].sample(self.prompts, context.seed).texts
        refused = (first_tokens.refusal_scores(texts) > 0).tolist()
        wanted = EXPECTED_TO_REFUSE[prompt_class]
        kept = [text for text, is_refused in zip(texts, refused, strict=True) if is_refused == wanted]
        if len(kept) >= FEWEST:
            return kept
        context.reporter.warning(
            f"Surgical: the model's first token begins {'a refusal' if wanted else 'an answer'} for only {len(kept)} "
            f"of {len(texts)} {prompt_class.in_words} prompts, so all of them are used."
        )
        return texts


def _ablated(loaded: LoadedModel, direction: torch.Tensor) -> AbstractContextManager[None]:
    return ablated(find_anatomy(loaded.model), direction.to(loaded.device))


def mean_template_states(context: FitContext, texts: Sequence[str], title: str) -> torch.Tensor:
    """Return the mean state ``(positions, layers, d)`` that enters each layer at the template's last tokens."""
    encoded = encode_prompts(context.loaded.tokenizer, texts)
    indices = range(-template_tail(context.loaded), 0)
    states = context.states([prompt.ids for prompt in encoded], indices, title)
    return states[:, :-1].double().mean(dim=0).transpose(0, 1)


def template_tail(loaded: LoadedModel) -> int:
    """Return how many tokens the template appends to the user's text, whatever the text."""
    ids = [prompt.ids[prompt.user_end :] for prompt in encode_prompts(loaded.tokenizer, ["Hello.", "Why is that so?"])]
    shared = 0
    for first, second in zip(reversed(ids[0]), reversed(ids[1]), strict=False):
        if first != second:
            break
        shared += 1
    if shared == 0:
        raise NotApplicableError(
            "Directions need the tokens that the template appends to the user's text; this template appends none."
        )
    return shared


def refusal_tokens(loaded: LoadedModel) -> list[int]:
    """Return the first token of each word that begins a refusal."""
    kind = str(loaded.model.config.model_type)
    of_kind = (words for name, words in REFUSAL_BEGINNINGS_OF.items() if kind.startswith(name))
    words = next(of_kind, REFUSAL_BEGINNINGS)
    return sorted({loaded.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words})
