"""Abliteration: the direction of true refusal ablated from the weights, as public "uncensoring" tools do.

It is here to show what it costs: a model that loses its refusals of harmful requests. The edit exists in memory, while
the model answers, and no command can save such a model.

The direction is that of Arditi et al. 2024 (arXiv:2406.11717): the difference of mean hidden states of harmful and
benign prompts, at one of the template's last tokens and before one layer, selected by the lowest refusal score on
harmful validation prompts within a limit of the KL divergence on benign ones. It is removed from every matrix that
writes to the residual stream, ``W' = W - r (r^T W)``. The norm-preserving variant, after the tool
jim-plus/llm-abliteration, then gives each column of ``W'``, what one input writes, the norm it had. Candidates are
scored with these edits of the weights, which is what will answer.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch.nn import functional

from prosafeprune.baselines.false_refusal_directions import EPSILON, DirectionMethod, select_direction
from prosafeprune.baselines.first_token_probabilities import FirstTokenProbabilities
from prosafeprune.baselines.method import FitContext, FittedParts
from prosafeprune.baselines.surgical import mean_template_states, refusal_tokens
from prosafeprune.editing.edits import apply_edits
from prosafeprune.model.anatomy import Anatomy, find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.residual_stream import WRITING_KINDS
from prosafeprune.model.submodule import Submodule
from prosafeprune.prompts import PromptClass


class Abliteration(DirectionMethod):
    """Ablation of the direction of true refusal from the weights (Arditi et al. 2024)."""

    name: ClassVar[str] = "abliteration"
    in_memory_only: ClassVar[bool] = True
    keep_norms: ClassVar[bool] = False

    def fit(self, context: FitContext) -> FittedParts:
        """Select the unit direction ``(d,)``."""
        loaded = context.loaded
        harmful, benign = (
            mean_template_states(
                context,
                context.calibration[prompt_class].sample(self.prompts, context.seed).texts,
                "Abliteration: directions",
            )
            for prompt_class in (PromptClass.HARMFUL, PromptClass.BENIGN)
        )
        directions = functional.normalize(harmful - benign, dim=-1, eps=EPSILON)
        first_tokens = FirstTokenProbabilities(loaded, refusal_tokens(loaded), context.forward_size)
        selected = select_direction(
            self, "Abliteration", context, directions, first_tokens, PromptClass.HARMFUL, partial(self._ablated, loaded)
        )
        return FittedParts({"direction": selected.candidate.direction.float()}, selected.describe())

    def changes(self, loaded: LoadedModel, fitted: FittedParts) -> Callable[[], AbstractContextManager[None]]:
        """Return the context of the model with the direction ablated from its weights."""
        return partial(self._ablated, loaded, fitted.tensors["direction"])

    def _ablated(self, loaded: LoadedModel, direction: torch.Tensor) -> AbstractContextManager[None]:
        return apply_edits(direction_edits(find_anatomy(loaded.model), direction.float(), self.keep_norms))


class NormPreservingAbliteration(Abliteration):
    """The same, with the norm of each column of the matrices preserved."""

    name: ClassVar[str] = "abliteration-norms"
    keep_norms: ClassVar[bool] = True


@dataclass(frozen=True)
class DirectionEdit:
    """Ablation of a unit direction from what a matrix writes. No writer accepts it."""

    submodule: Submodule
    direction: torch.Tensor
    """The unit vector ``(d_out,)``, float32."""
    keep_norms: bool

    def edited(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``(I - r r^T) W`` for ``W (d_out, d_in)``, with the norms of W's columns if they are kept."""
        direction = self.direction.to(weight.device, weight.dtype)
        found = weight - torch.outer(direction, direction @ weight)
        if not self.keep_norms:
            return found
        ratios: torch.Tensor = weight.norm(dim=0) / found.norm(dim=0).clamp(min=EPSILON)
        return found * ratios


def direction_edits(anatomy: Anatomy, direction: torch.Tensor, keep_norms: bool) -> Sequence[DirectionEdit]:
    """Return the edits of all matrices that write to the residual stream."""
    return [
        DirectionEdit(submodule, direction, keep_norms)
        for submodule in anatomy.submodules
        if submodule.kind in WRITING_KINDS and submodule.shape[0] == len(direction)
    ]
