"""What a user asks to be compared, as one validated object."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, Field, field_validator

from prosafeprune.requests.recipe import Recipe

METHOD_NAMES = ("default", "prompt", "self-cd", "scan", "surgical", "prosafeprune")


class CompareRequest(Recipe):
    """Everything that decides the result of a comparison, apart from where it is written."""

    model_config = ConfigDict(title="Comparison")

    methods: tuple[str, ...] = Field(
        METHOD_NAMES,
        min_length=1,
        description=f"Methods, separated by commas: {', '.join(METHOD_NAMES)}; one of your own as module:Class.",
    )
    settings: tuple[str, ...] = Field(
        (),
        description="A method's setting, such as scan.threshold=0.7; may be given more than once.",
        json_schema_extra={"short": "-s"},
    )
    search: Path | None = Field(None, description="Folder of a finished search, whose plan prosafeprune takes.")
    choose: int | None = Field(None, ge=1, description="Number of a point of that search; else the one it chose.")
    pruned: Path | None = Field(None, description="Checkpoint pruned from MODEL, whose weights prosafeprune takes.")
    max_new_tokens: int = Field(256, ge=1, description="Length of the answers that are judged.")

    @field_validator("methods", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value

    @field_validator("methods")
    @classmethod
    def _default_first(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Put the default, which the others are compared with, first; each once."""
        return tuple(dict.fromkeys(sorted(value, key=lambda name: name != METHOD_NAMES[0])))

    @field_validator("settings", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value
