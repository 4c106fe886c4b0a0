"""What a user asks for, as one validated object: YAML files, command-line options and Python calls all make it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import ConfigDict, Field, field_validator, model_validator

from prosafeprune.errors import InputError
from prosafeprune.method.plan import Pooling, Projection, Strength
from prosafeprune.requests.budget import Budget
from prosafeprune.requests.measuring import MeasuringSettings
from prosafeprune.requests.validation import validate_settings

LARGE_DROP = 50.0
"""Points of S.S. A model must refuse half of the harmful prompts to be pruned: so much may be all its refusals."""
Layers = tuple[int, ...]
Asked = TypeVar("Asked", bound="Recipe")


class PlanSettings(MeasuringSettings):
    """A plan and the prompts it is calibrated with, as settings that `prune`, `search` and `analyze` share."""

    model_config = ConfigDict(title="Plan")

    layers: Layers | None = Field(
        None,
        min_length=1,
        description="Decoder layers to prune, counted from 0: 14-17 or 14,16. Left out, they are searched for.",
    )
    rank: int = Field(16, ge=1, description="Dimension of each class's subspace.")
    strength: Strength | tuple[Strength, ...] = Field(
        0.9,
        description="The paper's lambda: how much of the overlap is removed; or one for each layer, in order: 0.9,0.5.",
    )
    pooling: Pooling = Field(
        Pooling.SEQUENCE,
        description="Tokens averaged over: sequence (all), tail (the user's words and what follows), user, last.",
    )
    projection: Projection = Field(
        Projection.ORTHOGONAL,
        description="How pseudo-harmful outputs are picked out: orthogonal (Eq. 1 of the paper), oblique (which leaves "
        "harmful ones as they are) or contrastive (which strengthens them; a search takes it unless told).",
    )
    harmful: str | None = Field(
        None, description="Harmful calibration prompts: .jsonl, .csv, .txt or a hub dataset id; else the bundled ones."
    )
    benign: str | None = Field(None, description="Benign calibration prompts, likewise.")
    pseudo_harmful: str | None = Field(None, description="Pseudo-harmful calibration prompts, likewise.")
    samples: int = Field(200, ge=1, description="Calibration prompts drawn from each class, at most.")
    max_new_tokens: int = Field(64, ge=1, description="Length of the answers that are judged.")

    @field_validator("strength", mode="before")
    @classmethod
    def _read_strength(cls, value: Any) -> Any:
        return tuple(value.split(",")) if isinstance(value, str) and "," in value else value

    @field_validator("layers", mode="before")
    @classmethod
    def _read_layers(cls, value: Any) -> Any:
        if value is None:
            return None
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(layer for item in values for layer in parse_layers(item))

    @field_validator("layers")
    @classmethod
    def _order_layers(cls, value: Layers | None) -> Layers | None:
        if value is None:
            return None
        if min(value) < 0:
            raise ValueError("layers are counted from 0")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _one_strength_a_layer(self) -> PlanSettings:
        if isinstance(self.strength, tuple) and len(self.strength) != len(self.layers or ()):
            raise ValueError(f"{len(self.strength)} strengths are given for {len(self.layers or ())} layers")
        return self


class Recipe(PlanSettings):
    """Everything that decides the result of a run, apart from where it is written."""

    model_config = ConfigDict(title="Pruning")

    max_safety_drop: float = Field(
        3.0,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="Points of S.S. that may be lost, on all harmful prompts and on each harmful set. A model that is "
        "not shown to have lost less is not saved.",
    )
    floor: Literal["confident", "estimate"] = Field(
        "confident",
        description="confident: S.S. must be shown to have fallen by less than --max-safety-drop, by a paired "
        "non-inferiority test; estimate: the measured drop itself is compared.",
    )
    confidence: float = Field(
        0.9, ge=0.5, lt=1, description="One-sided confidence of --floor confident; more needs more harmful prompts."
    )
    accept_unsafe: bool = Field(
        False, description=f"Confirm a --max-safety-drop of more than {LARGE_DROP:g} points; at 100 anything is saved."
    )
    format: Literal["checkpoint", "adapter"] = Field(
        "checkpoint",
        description="What is written: checkpoint (a model like its source) or adapter (a LoRA adapter for the source).",
    )
    memory: Literal["normal", "low"] = Field(
        "normal",
        description="low: for models larger than memory; prunes given layers, one in memory at a time, and cannot "
        "measure.",
    )
    unmeasured: bool = Field(
        False,
        description="Write the model although nobody has measured whether it still refuses; only with --memory low.",
    )
    strategy: Literal["auto", "paper"] = Field(
        "auto", description="How layers are searched for: auto, or paper (windows near the silhouette's peak, by T.S.)."
    )
    budget: str = Field("60", description="How long to search: trials (60) or minutes (10m).")
    confirmations: int = Field(6, ge=1, description="Plans that the search measures for real before it chooses.")

    @field_validator("budget", mode="before")
    @classmethod
    def _check_budget(cls, value: Any) -> Any:
        Budget(str(value))
        return str(value)

    @field_validator("max_safety_drop", "confidence", mode="before")
    @classmethod
    def _is_a_number(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("must be a number")
        return value

    @model_validator(mode="after")
    def _accepts_a_large_drop(self) -> Recipe:
        if self.max_safety_drop > LARGE_DROP and not self.accept_unsafe:
            raise ValueError(
                f"max_safety_drop {self.max_safety_drop:g} allows a model to lose its refusals; set accept_unsafe "
                "(--accept-unsafe) too, if that is what you want"
            )
        return self

    @model_validator(mode="after")
    def _fits_in_low_memory(self) -> Recipe:
        if self.memory == "normal":
            if self.unmeasured:
                raise ValueError("unmeasured is for models larger than memory alone (memory: low); leave it out")
            return self
        if self.layers is None:
            raise ValueError("memory: low needs the layers to prune; a search needs the whole model in memory")
        if self.format == "adapter":
            raise ValueError("memory: low writes whole checkpoints alone; leave out format: adapter")
        if self.suite is not None or self.benchmark:
            raise ValueError("memory: low answers no prompts, so suite and benchmark cannot be used with it")
        if not self.unmeasured:
            raise ValueError(
                "memory: low answers no prompts, so whether the result still refuses is not measured; set unmeasured "
                "(--unmeasured) to write it all the same, and measure it behind a server with evaluate --endpoint"
            )
        return self


def parse_layers(text: object) -> Layers:
    """Return the layer numbers that ``14-17``, ``14,16`` or a mix of both names. Raises ValueError."""
    layers: list[int] = []
    for part in str(text).split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"'{text}' is not a list of layers such as 14-17 or 14,16")
        if dash and int(last) < int(first):
            raise ValueError(f"'{part.strip()}' runs backwards")
        layers += range(int(first), int(last or first) + 1)
    return tuple(layers)


def make_recipe(file: str | Path | None = None, **settings: Any) -> Recipe:
    """Return the recipe of a YAML file, with ``settings`` that are not None in place of what the file says.

    Raises:
        InputError: the file cannot be read, or a setting is unknown or out of range; the message names it.
    """
    return make_request(Recipe, file, settings)


def make_request(kind: type[Asked], file: str | Path | None, settings: Mapping[str, Any]) -> Asked:
    """Return a recipe of some ``kind``, of a YAML file and settings that go before it.

    Raises:
        InputError: the file cannot be read, or a setting is unknown or out of range; the message names it.
    """
    values: dict[str, Any] = _read_yaml(Path(file)) if file is not None else {}
    return validate_settings(kind, {**values, **{n: v for n, v in settings.items() if v is not None}}, str(file or ""))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such recipe file. Check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as YAML ({reason}).") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no settings. Write lines such as 'layers: 14-17'.")
    return {str(name).replace("-", "_"): value for name, value in values.items()}
