"""The plan: layers, rank, strength, pooling and projection; enough to reproduce an edit (Table 5).

Imports no torch: recipes name these types, and must be readable at once.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

Strength = Annotated[float, Field(ge=0, le=1)]
"""The paper's lambda (Eq. 3): 0 removes nothing, 1 removes the whole overlap."""


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
    BOTH = "both"
    """Sequence and last, as two samples of each prompt."""

    @property
    def parts(self) -> tuple[Pooling, ...]:
        """The poolings that each give one sample of a prompt."""
        return (Pooling.SEQUENCE, Pooling.LAST) if self is Pooling.BOTH else (self,)


class Projection(StrEnum):
    """The last factor of the overlap operator, which reads a submodule's output."""

    ORTHOGONAL = "orthogonal"
    """``Pi_p = U_p U_p^T``, the paper's (Eq. 1): reads everything in the pseudo-harmful subspace."""
    OBLIQUE = "oblique"
    """Reads pseudo-harmful outputs as ``Pi_p`` does, and as little as possible of harmful and benign ones."""
    CONTRASTIVE = "contrastive"
    """As oblique, but reads harmful outputs with the opposite sign at half weight."""
    DISCRIMINANT = "discriminant"
    """One direction in place of a subspace: how pseudo-harmful rather than harmful an output is, by regression; its
    refusal direction is taken away or added by that much. Only matrices that write to the residual stream change."""


HARMFUL_SHARE = {Projection.OBLIQUE: 0.0, Projection.CONTRASTIVE: -0.5, Projection.DISCRIMINANT: -1.0}
"""What a fitted projection takes from harmful outputs, as a share of what it takes from pseudo-harmful ones. A negative
share adds to harmful outputs what pruning takes from pseudo-harmful ones."""


class Plan(BaseModel):
    """Layers, rank and strength of an edit, and how activations are pooled and projected (Table 5)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: tuple[NonNegativeInt, ...] = Field(min_length=1)
    rank: int = Field(default=16, ge=1)
    """Directions of each class's subspace; 1 with the discriminant projection, whatever is given."""
    strength: Strength | tuple[Strength, ...] = 0.9
    """One for all layers, or one per layer, in the order of the layers."""
    pooling: Pooling = Pooling.SEQUENCE
    projection: Projection = Projection.ORTHOGONAL
    harmful_share: float | None = Field(default=None, ge=-2, le=1)
    """What harmful outputs lose, as a share of what pseudo-harmful ones lose; negative: they gain it. None: the
    projection's own, :data:`HARMFUL_SHARE`. The orthogonal projection has no choice."""

    @model_validator(mode="before")
    @classmethod
    def _discriminant_has_rank_one(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("projection") == Projection.DISCRIMINANT:
            return {**values, "rank": 1}
        return values

    @model_validator(mode="after")
    def _one_strength_per_layer(self) -> Plan:
        if isinstance(self.strength, tuple) and len(self.strength) != len(self.layers):
            raise ValueError(f"{len(self.strength)} strengths are given for {len(self.layers)} layers")
        return self

    @property
    def layer_runs(self) -> list[list[int]]:
        """The layers as runs of consecutive ones."""
        runs: list[list[int]] = []
        for layer in self.layers:
            if runs and layer == runs[-1][-1] + 1:
                runs[-1].append(layer)
            else:
                runs.append([layer])
        return runs

    @property
    def layers_in_words(self) -> str:
        """The layers as ``--layers`` takes them, such as ``12,14-17``."""
        return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in self.layer_runs)

    @property
    def target_share(self) -> float:
        """The harmful share that the projection is fitted to. Raises KeyError for the orthogonal one."""
        return HARMFUL_SHARE[self.projection] if self.harmful_share is None else self.harmful_share

    def strength_of(self, layer: int) -> float:
        """Return the strength of one of the plan's layers."""
        return self.strength[self.layers.index(layer)] if isinstance(self.strength, tuple) else self.strength

    def of_layer(self, layer: int) -> Plan:
        """Return the plan restricted to one of its layers."""
        return self.model_copy(update={"layers": (layer,), "strength": self.strength_of(layer)})
