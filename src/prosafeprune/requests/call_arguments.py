"""Arguments of the Python functions, checked as the options of commands are: a wrong one is an InputError."""

import inspect
import os
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from types import NoneType
from typing import Any, ParamSpec, TypeVar

from prosafeprune.errors import InputError, refused_by_system
from prosafeprune.files.user_path import user_path
from prosafeprune.requests.validation import shown_value

P = ParamSpec("P")
R = TypeVar("R")
KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, NoneType),
    "bool": (bool,),
    "int | None": (int, NoneType),
    "str | Path": (str, os.PathLike),
    "str | Path | None": (str, os.PathLike, NoneType),
}
"""By annotation, the types that an argument may have; arguments with other annotations are checked by the requests.

Annotations are compared as text, so modules with ``checked`` functions import ``annotations`` from ``__future__``.
"""
PATHS = "Paths"
"""Annotation of one path or several."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with its own arguments checked.

    What the operating system says of a path or a disk becomes an InputError, too, as on the command line.

    Raises:
        InputError: an argument has a wrong type, or is a path that cannot be one.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        for name, value in given.arguments.items():
            parameter = signature.parameters[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                for one in value:
                    _require(name, one, parameter.annotation)
            elif parameter.kind is not parameter.VAR_KEYWORD:
                given.arguments[name] = _usable(name, value, parameter.annotation)
        try:
            return function(*given.args, **given.kwargs)
        except OSError as error:
            refused = refused_by_system(error)
            if refused is None:
                raise
            raise refused from error

    return call


def _usable(name: str, value: Any, annotation: str) -> Any:
    """Return an argument; paths of other libraries as a path of Python's."""
    if annotation == PATHS:
        several = value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
        paths = [_usable(name, one, "str | Path") for one in several]
        if not paths:
            raise InputError(f"{name}: no file is named. Name at least one.")
        return paths
    _require(name, value, annotation)
    if value is None or "Path" not in annotation:
        return value
    user_path(value)
    return value if isinstance(value, str | Path) else Path(value)


def _require(name: str, value: object, annotation: str) -> None:
    kinds = KINDS.get(annotation)
    is_switch = isinstance(value, bool) and bool not in (kinds or ())
    if kinds is not None and (is_switch or not isinstance(value, kinds)):
        raise InputError(f"{name}: must be {annotation.replace(' |', ' or')} (given: {shown_value(value)}).")
