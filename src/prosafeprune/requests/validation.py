"""What a user asks for, as validated objects: what is wrong with a setting, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from prosafeprune.errors import InputError

Settings = TypeVar("Settings", bound=BaseModel)


def validate_settings(kind: type[Settings], values: Mapping[str, Any], source: str = "") -> Settings:
    """Return settings of one kind, leaving out values that are None; ``source`` is the file they come from, if any.

    Raises:
        InputError: a setting is unknown, missing or out of range; the message names it.
    """
    try:
        return kind(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(_describe(kind, dict(problem)) for problem in error.errors())
        raise InputError(f"{source or 'Settings'}: {problems}.") from error


def _describe(kind: type[BaseModel], problem: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in problem["loc"][:1])
    if problem["type"] == "missing":
        return f"{name} is missing ({kind.model_fields[name].description})"
    if problem["type"] == "extra_forbidden":
        return f"there is no setting '{name}'"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not name:  # a check of how settings fit together
        return message
    return f"{name}: {message} (given: {problem['input']!r})"
