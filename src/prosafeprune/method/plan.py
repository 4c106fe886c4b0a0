"""The plan: layers, rank, strength, pooling and projection; enough to reproduce an edit (Table 5).

Imports no torch, so that a recipe, which has these types, is validated without loading it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

Strength = Annotated[float, Field(ge=0, le=2)]
"""The paper's lambda (Eq. 3): 0 removes nothing, 1 removes all of the overlap. Above 1 for fitted projections."""


class Pooling(StrEnum):
    """Which tokens of the rendered prompt are averaged (section 3.2, "sequence pooling")."""

    SEQUENCE = "sequence"
    """All tokens, including the template's: the paper's mean pooling."""
    TAIL = "tail"
    """From the first token of the user's text to the end of the prompt, including the template's closing tokens."""
    USER = "user"
    """The user's text only."""
    LAST = "last"
    """The last token, from which the answer is generated."""


class Projection(StrEnum):
    """The last factor of the overlap operator, which reads a submodule's output."""

    ORTHOGONAL = "orthogonal"
    """``Pi_p = U_p U_p^T``, the paper's (Eq. 1): reads everything in the pseudo-harmful subspace."""
    OBLIQUE = "oblique"
    """Reads pseudo-harmful outputs as ``Pi_p`` does, and as little as possible of harmful and benign ones."""
    CONTRASTIVE = "contrastive"
    """Like oblique, but reads a share of harmful outputs, negative by default: pruning then adds to them."""


LARGEST_STRENGTH = {Projection.ORTHOGONAL: 1.0, Projection.OBLIQUE: 2.0, Projection.CONTRASTIVE: 2.0}
"""The orthogonal projection reads all that there is to remove. Fitted ones, being regularised, read less of new prompts
than what they were fitted to, so more than one time what they read may be removed."""
HARMFUL_SHARE = {Projection.OBLIQUE: 0.0, Projection.CONTRASTIVE: -0.5}
"""What a fitted projection reads from harmful outputs, as a share of what ``Pi_p`` reads from them, unless the plan has
a share. Pruning subtracts what is read: a negative share adds to harmful outputs."""


def require_strength(strength: float | Sequence[float], projection: Projection) -> None:
    """Raise ValueError when a strength is above what the projection takes."""
    largest = max(strength, default=0.0) if isinstance(strength, Sequence) else strength
    if largest > LARGEST_STRENGTH[projection]:
        raise ValueError(
            f"strength {largest:g} is above {LARGEST_STRENGTH[projection]:g}, the largest that the {projection.value} "
            "projection takes"
        )


class Plan(BaseModel):
    """Layers, rank and strength of an edit, and how activations are pooled and projected (Table 5)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: tuple[NonNegativeInt, ...] = Field(min_length=1)
    rank: int = Field(default=16, ge=1)
    strength: Strength | tuple[Strength, ...] = 0.9
    """One strength for all layers, or one for each layer, in the order of the layers."""
    pooling: Pooling = Pooling.SEQUENCE
    projection: Projection = Projection.ORTHOGONAL
    harmful_share: float | None = Field(default=None, ge=-1, le=1)
    """The share of harmful outputs that the contrastive projection reads; None for :data:`HARMFUL_SHARE`."""

    @model_validator(mode="after")
    def _one_strength_per_layer(self) -> Plan:
        if isinstance(self.strength, tuple) and len(self.strength) != len(self.layers):
            raise ValueError(f"{len(self.strength)} strengths are given for {len(self.layers)} layers")
        return self

    @model_validator(mode="after")
    def _share_of_the_contrastive_projection(self) -> Plan:
        if self.harmful_share is not None and self.projection is not Projection.CONTRASTIVE:
            raise ValueError(f"a harmful share is given, which the {self.projection.value} projection does not take")
        return self

    @model_validator(mode="after")
    def _strength_of_the_projection(self) -> Plan:
        require_strength(self.strength, self.projection)
        return self

    @property
    def is_stronger(self) -> bool:
        """Whether a layer has a strength above 1, which the paper's lambda does not have."""
        return any(self.strength_of(layer) > 1 for layer in self.layers)

    @property
    def largest_strength(self) -> float:
        """The largest strength that the plan's projection takes."""
        return LARGEST_STRENGTH[self.projection]

    @property
    def fitted_share(self) -> float:
        """The harmful share that the projection is fitted to. Raises KeyError for the orthogonal one."""
        return HARMFUL_SHARE[self.projection] if self.harmful_share is None else self.harmful_share

    @property
    def projection_in_words(self) -> str:
        """The projection, with the plan's harmful share if it has one, such as ``contrastive -0.2``."""
        share = self.harmful_share
        return self.projection.value if share is None else f"{self.projection.value} {share:g}"

    @property
    def layers_in_words(self) -> str:
        """The layers as ``--layers`` takes them, such as ``12,14-17``."""
        return describe_layers(self.layers)

    @property
    def operator_in_words(self) -> str:
        """Rank, pooling and projection, such as ``rank 16, tail, contrastive``."""
        return f"rank {self.rank}, {self.pooling.value}, {self.projection_in_words}"

    def strength_of(self, layer: int) -> float:
        """Return the strength of one of the plan's layers."""
        return self.strength[self.layers.index(layer)] if isinstance(self.strength, tuple) else self.strength

    def of_layer(self, layer: int) -> Plan:
        """Return the plan restricted to one of its layers."""
        return self.model_copy(update={"layers": (layer,), "strength": self.strength_of(layer)})


def first_layer(pooling: Pooling) -> int:
    """Return the first layer that can be pruned.

    The last token of a prompt is the template's, and enters layer 0 the same in every prompt.
    """
    return 1 if pooling is Pooling.LAST else 0


def layer_runs(layers: Sequence[int]) -> list[list[int]]:
    """Return layers as runs of consecutive ones."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return runs


def describe_layers(layers: Sequence[int]) -> str:
    """Return layers as ``--layers`` takes them, such as ``12,14-17``."""
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in layer_runs(layers))


def listed_layers(layers: Sequence[int]) -> str:
    """Return layers one by one for a sentence, such as ``layer 12`` or ``layers 12, 13, 14``; ``none`` without one."""
    if not layers:
        return "none"
    return f"layer{'' if len(layers) == 1 else 's'} {', '.join(map(str, layers))}"


def describe_plan(plan: Plan) -> str:
    """Return layers with their strengths, rank, pooling and projection, in a few words."""
    if isinstance(plan.strength, tuple):
        layers = ", ".join(f"{layer}:{plan.strength_of(layer):g}" for layer in plan.layers)
        return f"layers {layers}, {plan.operator_in_words}"
    return f"layers {plan.layers_in_words} at strength {plan.strength:g}, {plan.operator_in_words}"
