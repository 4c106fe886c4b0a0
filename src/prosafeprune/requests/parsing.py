"""Requests from untrusted values: what is wrong with a setting or a recipe file, in one line."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ValidationError

from prosafeprune.errors import InputError, first_line
from prosafeprune.files.text_file import read_text_file
from prosafeprune.files.user_path import user_path
from prosafeprune.files.yaml_loader import TextKeepingLoader
from prosafeprune.text import SURROGATE, first_repeat, shortened

Request = TypeVar("Request", bound=BaseModel)
OneOrMore = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""Texts; a single one need not be in a list."""
PathOrName = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]
"""A file or folder, also as a ``Path``, or the name of something on the hub."""
PathsOrNames = Annotated[
    tuple[PathOrName, ...],
    BeforeValidator(lambda value: () if value is None else (value,) if isinstance(value, str | Path) else value),
]
"""Such files and names; a single one need not be in a list."""
PUBLIC_NAME = re.compile(r"[a-z0-9-]+(?:=.*)?", re.DOTALL)
"""A text that is no file of prompts and no id on the hub: the name of a public set, perhaps with its file."""
MAX_RECIPE_BYTES = 1_000_000
MAX_NUMBER = 2**63
NOT_DECIMAL = re.compile(r"[-+]?(?:0[0-9_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)")
"""A number in a recipe file that looks decimal, or like a time, and that YAML 1.1 reads in base 8 or 60: 010 as 8,
1:30 as 90. As text, the one is 10, and the other is refused."""
SHOWN_CHARACTERS = 80
"""Maximum characters shown of a wrong value."""
SHOWN_PROBLEMS = 5
"""Wrong settings that are named in one message."""


def validate_settings(kind: type[Request], values: Mapping[str, Any], source: str = "") -> Request:
    """Return settings of one kind, leaving out values that are None; ``source`` is the file they come from, if any.

    Raises:
        InputError: a setting is unknown, missing or out of range, or a path cannot be one; the message names it.
    """
    huge = next((name for name, value in values.items() if isinstance(value, int) and abs(value) > MAX_NUMBER), None)
    if huge is not None:
        raise InputError(f"{source or 'Settings'}: {huge}: is too large a number.")
    try:
        made = kind(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        found = _most_specific([dict(problem) for problem in error.errors()])
        problems = "; ".join(_describe(kind, problem) for problem in found[:SHOWN_PROBLEMS])
        more = f"; and {len(found) - SHOWN_PROBLEMS} more" if len(found) > SHOWN_PROBLEMS else ""
        raise InputError(f"{source or 'Settings'}: {problems}{more}.".replace("?.", "?")) from error
    except UnicodeEncodeError as error:  # pydantic cannot hold the message of a validator that quotes such a value
        wrong = next((name for name, value in values.items() if SURROGATE.search(str(value))), "a setting")
        raise InputError(f"{source or 'Settings'}: {wrong}: has a lone surrogate (invalid Unicode).") from error
    except InputError:  # of a validator that reads a file
        raise
    except Exception as error:  # of a value's own methods, or of a list that is nested too deep
        raise InputError(f"{source or 'Settings'}: cannot be read ({type(error).__name__}). Correct them.") from error
    for _, value in made:
        if isinstance(value, Path):
            user_path(value)
    return made


def first_changed(made: BaseModel, names: Iterable[str]) -> str | None:
    """Return the first of these settings that a request has and that differs from its default, or None."""
    fields = type(made).model_fields
    return next((name for name in names if name in fields and getattr(made, name) != fields[name].default), None)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the settings of a recipe file, by name.

    Aliases, which can make a small file fill the memory, and repeated settings are refused.

    Raises:
        InputError: the file is missing, too large or not a YAML mapping of settings.
    """
    text = read_text_file(path, "recipe file", MAX_RECIPE_BYTES)
    try:
        values = yaml.load(text, _RecipeLoader)
        named = (
            [(str(key).replace("-", "_"), value) for key, value in values.items()] if isinstance(values, dict) else None
        )
    # A value that does not fit its tag, such as !!bool x, fails in any of these ways.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError, OverflowError) as error:
        reason = shortened(" ".join(str(error).split()), 200)
        raise InputError(f"{path}: cannot be read as YAML ({reason}). Fix the file.") from error
    if named is None:
        raise InputError(f"{path}: has no settings. Write lines such as 'layers: 14-17'.")
    twice = first_repeat(name for name, _ in named)
    if twice is not None:
        raise InputError(f"{path}: {shown_value(twice)} is given twice. Remove one of the two lines.")
    return dict(named)


class _RecipeLoader(TextKeepingLoader):
    kept_as_text = NOT_DECIMAL

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed in a recipe")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = first_repeat(keys)
        if twice is not None:
            raise yaml.YAMLError(f"{shortened(repr(twice), SHOWN_CHARACTERS)} is given twice")
        return super().construct_mapping(node, deep)


def _most_specific(problems: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the problems without those that say a setting is of another type, where it is of an allowed one."""

    def is_of_type(problem: dict[str, Any]) -> bool:
        return str(problem["type"]).endswith(("_type", "_parsing"))

    wrong_items = {problem["loc"][:1] for problem in problems if len(problem["loc"]) > 1}
    # A list whose items are all wrong is also called too short.
    problems = [one for one in problems if one["type"] != "too_short" or one["loc"][:1] not in wrong_items]
    other = {problem["loc"][:1] for problem in problems if not is_of_type(problem)}
    return [problem for problem in problems if not is_of_type(problem) or problem["loc"][:1] not in other]


def _describe(kind: type[BaseModel], problem: dict[str, Any]) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "missing":
        return f"{name} is missing ({kind.model_fields[name].description})"
    if problem["type"] == "extra_forbidden":
        like = get_close_matches(name.replace("-", "_"), kind.model_fields, n=1)
        return f"there is no setting {shown_value(name)}" + (f"; did you mean {like[0]}?" if like else "")
    if problem["type"] in ("too_short", "string_too_short") and problem["ctx"]["min_length"] == 1:
        return f"{name}: must not be empty (given: {shown_value(problem['input'])})"
    words = " ".join(str(problem["msg"]).removeprefix("Value error, ").split())
    message = shortened(words.replace("Input should be", "must be", 1), 400)
    if not name:  # a check of how settings fit together
        return message
    if name.endswith(("endpoint", "request")):  # a URL may contain a password, and a request field a key
        return f"{name}: {message}"
    return f"{name}: {message} (given: {shown_value(problem['input'])})"


def shown_value(value: object) -> str:
    """Return a wrong value for a message; its type, where it cannot be written: a huge number, or a deep list."""
    try:
        return shortened(repr(value), SHOWN_CHARACTERS)
    except Exception:  # noqa: BLE001 - whatever the object's own repr() raises
        return f"a value of the type {type(value).__name__}"


def import_user_class(name: str) -> Any:
    """Return what ``module:Class`` names. Raises InputError when it cannot be imported."""
    module, _, kind = name.partition(":")
    try:
        return getattr(import_module(module), kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{name}: cannot be imported ({first_line(error)}). Is its folder on PYTHONPATH?") from error
    except Exception as error:  # the user's code may fail in any way
        raise InputError(
            f"{name}: its module fails when it is imported ({type(error).__name__}: {first_line(error)})."
        ) from error
