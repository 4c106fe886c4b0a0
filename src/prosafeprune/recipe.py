"""What a user asks for, as one validated object: YAML files, command-line options and Python calls all make it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from prosafeprune.errors import InputError
from prosafeprune.method.pooling import Pooling

Layers = tuple[int, ...]


class Recipe(BaseModel):
    """Everything that decides the result of a run, apart from where it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1, description="Local folder, hub id or .gguf file.")
    revision: str | None = Field(None, description="Commit, branch or tag of a hub model.")
    trust_remote_code: bool = Field(False, description="Run code that comes with the model.")
    layers: Layers = Field(min_length=1, description="Decoder layers to prune, counted from 0: 14-17 or 14,16.")
    rank: int = Field(16, ge=1, description="Dimension of each class's subspace.")
    strength: float = Field(0.9, ge=0, le=1, description="The paper's lambda: how much of the overlap is removed.")
    pooling: Pooling = Field(
        Pooling.SEQUENCE,
        description="Tokens averaged over: sequence (all), tail (the user's words and what follows), user, last.",
    )
    harmful: str | None = Field(
        None, description="Harmful calibration prompts: .jsonl, .csv, .txt or a hub dataset id; else the bundled ones."
    )
    benign: str | None = Field(None, description="Benign calibration prompts, likewise.")
    pseudo_harmful: str | None = Field(None, description="Pseudo-harmful calibration prompts, likewise.")
    prompt_field: str = Field("prompt", description="Column that holds the prompt.")
    samples: int = Field(200, ge=1, description="Calibration prompts drawn from each class, at most.")
    seed: int = Field(0, ge=0, description="Seed of the draw.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps.")
    dtype: str = Field("auto", description="Dtype to run in: auto (as stored), float32, bfloat16, float16.")
    batch_size: int | Literal["auto"] = Field("auto", description="Prompts at a time; auto finds what fits.")
    max_new_tokens: int = Field(64, ge=1, description="Length of the answers that are judged.")
    max_safety_drop: float = Field(
        3.0, ge=0, le=100, description="Points of S.S. that may be lost; more, and nothing is saved."
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _read_layers(cls, value: Any) -> Any:
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(layer for item in values for layer in parse_layers(item))

    @field_validator("layers")
    @classmethod
    def _order_layers(cls, value: Layers) -> Layers:
        if min(value) < 0:
            raise ValueError("layers are counted from 0")
        return tuple(sorted(set(value)))

    @field_validator("batch_size", mode="before")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if isinstance(value, int) and (isinstance(value, bool) or value < 1):
            raise ValueError("must be auto or at least 1")
        return value


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
    values: dict[str, Any] = _read_yaml(Path(file)) if file is not None else {}
    values.update({name: value for name, value in settings.items() if value is not None})
    try:
        return Recipe(**values)
    except ValidationError as error:
        problems = "; ".join(_describe(dict(problem)) for problem in error.errors())
        raise InputError(f"{file or 'Settings'}: {problems}.") from error


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


def _describe(problem: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in problem["loc"][:1])
    if problem["type"] == "missing":
        return f"{name} is missing ({Recipe.model_fields[name].description})"
    if problem["type"] == "extra_forbidden":
        return f"there is no setting '{name}'"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name}: {message} (given: {problem['input']!r})"
