"""Options for the plan, and for the prompts that its subspaces are computed from."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from prosafeprune.method.plan import Pooling, Projection, Strength, require_strength
from prosafeprune.requests.measuring import FileOptions
from prosafeprune.requests.parsing import PUBLIC_NAME, PathsOrNames

Layers = tuple[int, ...]
Strengths = Annotated[
    Strength | tuple[Strength, ...],
    BeforeValidator(lambda value: tuple(value.split(",")) if isinstance(value, str) and "," in value else value),
]
"""One strength, or one per layer; a text has commas between them."""
MAX_LAYERS = 10_000
"""Above any model's depth: a larger number is a typo, and its range would fill the memory."""


class CalibrationOptions(FileOptions):
    """The calibration prompts of the three classes."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Calibration")

    harmful: PathsOrNames = Field(
        (),
        description="Your own harmful prompts to calibrate on: .jsonl, .json, .csv, .txt, a hub dataset id, or a "
        "public set by its name (strongreject; NAME=FILE reads a file); may be given more than once. They are added to "
        "those of --calibration.",
        json_schema_extra={"repeatable": True},
    )
    benign: PathsOrNames = Field(
        (),
        description="Your own benign prompts to calibrate on, in the same forms (alpaca-cleaned).",
        json_schema_extra={"repeatable": True},
    )
    pseudo_harmful: PathsOrNames = Field(
        (),
        description="Your own harmless but risky-sounding prompts to calibrate on, in the same forms (or-bench-80k, "
        "phtest).",
        json_schema_extra={"repeatable": True},
    )
    calibration: Literal["bundled", "beyond", "paper", "all"] = Field(
        "bundled",
        description="Prompts to calibrate on besides your own: bundled; beyond (bundled ones, and conversations, "
        "operators' policies and nine languages; a search then also validates on such prompts); paper (HEx-PHI, "
        "Alpaca-Cleaned and OR-Bench-80K, downloaded) or all.",
    )
    samples: int = Field(600, ge=1, description="Maximum calibration prompts of each class; your own come first.")
    only_mine: bool = Field(
        False, description="Of the classes that you give prompts for, calibrate on your own prompts alone."
    )
    hold_out: float | None = Field(
        None,
        gt=0,
        le=0.9,
        description="Share of your own prompts kept from calibration to measure on, such as 0.3; near-duplicates stay "
        "together.",
    )
    drop_overlaps: bool = Field(
        False,
        description="Leave out, and list, calibration prompts that are also in a set to measure on or in another "
        "class; by default they stop the run.",
    )

    @property
    def goes_beyond(self) -> bool:
        """Whether bundled prompts beyond a single English turn are among those to calibrate on."""
        return self.calibration in ("beyond", "all")

    @property
    def calibrates_on_public_sets(self) -> bool:
        """Whether sets of the paper or public sets by name are calibrated on, which may be files of ``data_dir``."""
        return self.calibration in ("paper", "all") or any(map(PUBLIC_NAME.fullmatch, self._given))

    @property
    def calibrates_on_own_files(self) -> bool:
        """Whether a file or dataset is calibrated on whose column of prompts may be named."""
        return not all(map(PUBLIC_NAME.fullmatch, self._given))

    @property
    def _given(self) -> tuple[str, ...]:
        return (*self.harmful, *self.benign, *self.pseudo_harmful)

    @property
    def lacks_user_harmful(self) -> bool:
        """Whether it calibrates on harmless prompts of the user, and on no harmful ones of the same domain."""
        return bool(self.pseudo_harmful) and not self.harmful


class OperatorOptions(BaseModel):
    """How the overlap operator of a submodule is computed (section 3.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Plan")

    rank: int = Field(16, ge=1, description="Dimension of each class's subspace.")
    pooling: Pooling = Field(
        Pooling.SEQUENCE,
        description="Tokens averaged over: sequence (all), tail (the user's text and what follows), user, last.",
    )
    projection: Projection = Field(
        Projection.ORTHOGONAL,
        description="How pseudo-harmful outputs are selected: orthogonal (Eq. 1 of the paper), oblique (leaves harmful "
        "outputs as they are) or contrastive (strengthens them; the default of a search).",
    )
    harmful_share: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Share of what is removed from pseudo-harmful outputs that the contrastive projection also removes "
        "from harmful ones; a negative share is added to them.",
    )

    @model_validator(mode="after")
    def _share_of_the_contrastive_projection(self) -> Self:
        # A search, unless it is the paper's, has the contrastive projection if none is given.
        searched = getattr(self, "strategy", None) == "auto" and getattr(self, "layers", None) is None
        taken = self.projection is Projection.CONTRASTIVE or (searched and "projection" not in self.model_fields_set)
        if self.harmful_share is not None and not taken:
            raise ValueError(
                f"harmful_share is for the contrastive projection, and this is {self.projection.value}; set "
                "--projection contrastive, or leave it out"
            )
        return self


class PlanOptions(OperatorOptions):
    """A plan: where to prune, and how much."""

    layers: Layers | None = Field(
        None,
        min_length=1,
        description="Decoder layers to prune, counted from 0: 14-17 or 14,16. Default: found by a search.",
    )
    strength: Strengths = Field(
        0.9,
        description="The paper's lambda: how much of the overlap is removed, at most 1; at most 2 with the projections "
        "oblique and contrastive. Or one per layer, in order: 0.9,0.5.",
    )

    @model_validator(mode="before")
    @classmethod
    def _layers_in_order(cls, values: Any) -> Any:
        strength = values.get("strength") if isinstance(values, dict) else None
        if isinstance(strength, list | tuple) or (isinstance(strength, str) and "," in strength):
            layers = cls._read_layers(values.get("layers")) or ()
            if list(layers) != sorted(set(layers)):  # they are sorted below, and the strengths are not
                raise ValueError("with one strength per layer, name each layer once, in ascending order")
        return values

    @field_validator("layers", mode="before")
    @classmethod
    def _read_layers(cls, value: Any) -> Any:
        if value is None:
            return None
        values = value if isinstance(value, list | tuple | range) else [value]
        return tuple(layer for item in values for layer in parse_layers(item))

    @field_validator("layers")
    @classmethod
    def _sort_layers(cls, value: Layers | None) -> Layers | None:
        return None if value is None else tuple(sorted(set(value)))

    @property
    def operator_note(self) -> str | None:
        """What to know of the operator where layers are named and it is not; None otherwise."""
        if self.layers is None or "projection" in self.model_fields_set:
            return None
        return (
            "Pruning the given layers with the paper's operator (--projection orthogonal). A search takes --projection "
            "contrastive --pooling last, which refuses more harmful prompts."
        )

    @model_validator(mode="after")
    def _one_strength_per_layer(self) -> PlanOptions:
        if isinstance(self.strength, tuple) and len(self.strength) != len(self.layers or ()):
            raise ValueError(f"{len(self.strength)} strengths are given for {len(self.layers or ())} layers")
        return self

    @model_validator(mode="after")
    def _strength_of_the_projection(self) -> PlanOptions:
        require_strength(self.strength, self.projection)
        return self


def parse_layers(text: object) -> Layers:
    """Return the layers that a text such as ``14-17``, ``14,16`` or a mix of both names. Raises ValueError."""
    layers: list[int] = []
    for part in str(text).split(","):
        found = re.fullmatch(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?", part)
        if found is None:
            raise ValueError(f"'{text}' is not a list of layers such as 14-17 or 14,16")
        first, last = found[1], found[2] or found[1]
        if max(len(first), len(last)) > len(str(MAX_LAYERS)) or int(last) >= MAX_LAYERS:
            raise ValueError(f"'{part.strip()}' names layers beyond {MAX_LAYERS - 1}")
        if int(last) < int(first):
            raise ValueError(f"'{part.strip()}' runs backwards")
        layers += range(int(first), int(last) + 1)
    return tuple(layers)
