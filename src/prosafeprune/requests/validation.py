"""Requests from untrusted values: what is wrong with a setting or a recipe file, in one line."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ValidationError

from prosafeprune.errors import InputError
from prosafeprune.files.text_file import read_text_file

Request = TypeVar("Request", bound=BaseModel)
OneOrMore = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""Texts; a single one need not be in a list."""
MAX_RECIPE_BYTES = 1_000_000
SHOWN_CHARACTERS = 80
"""Of a wrong value, in its message."""


def validate_settings(kind: type[Request], values: Mapping[str, Any], source: str = "") -> Request:
    """Return settings of one kind, leaving out values that are None; ``source`` is the file they come from, if any.

    Raises:
        InputError: a setting is unknown, missing or out of range; the message names it.
    """
    try:
        return kind(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(_describe(kind, dict(problem)) for problem in error.errors())
        raise InputError(f"{source or 'Settings'}: {problems}.".replace("?.", "?")) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the settings of a recipe file, by name.

    Aliases, which can make a small file fill the memory, and repeated settings are refused.

    Raises:
        InputError: the file is missing, too large or not a YAML mapping of settings.
    """
    text = read_text_file(path, "recipe file", MAX_RECIPE_BYTES)
    try:
        values = yaml.load(text, _RecipeLoader)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        reason = shorten(" ".join(str(error).split()), 200)
        raise InputError(f"{path}: cannot be read as YAML ({reason}). Fix the file.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: has no settings. Write lines such as 'layers: 14-17'.")
    settings: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name in settings:
            raise InputError(f"{path}: {shorten(repr(name))} is given twice. Remove one of the two lines.")
        settings[name] = value
    return settings


def shorten(text: str, length: int = SHOWN_CHARACTERS) -> str:
    """Return a text for a message, cut to at most ``length`` characters."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


class _RecipeLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed in a recipe")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.YAMLError(f"{shorten(repr(twice))} is given twice")
        return super().construct_mapping(node, deep)


def _describe(kind: type[BaseModel], problem: dict[str, Any]) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "missing":
        return f"{name} is missing ({kind.model_fields[name].description})"
    if problem["type"] == "extra_forbidden":
        like = get_close_matches(name.replace("-", "_"), kind.model_fields, n=1)
        return f"there is no setting {shorten(repr(name))}" + (f"; did you mean {like[0]}?" if like else "")
    message = shorten(" ".join(str(problem["msg"]).removeprefix("Value error, ").split()), 400)
    if not name:  # a check of how settings fit together
        return message
    if name.endswith(("endpoint", "request")):  # a URL may contain a password, and a request field a key
        return f"{name}: {message}"
    return f"{name}: {message} (given: {shorten(repr(problem['input']))})"
