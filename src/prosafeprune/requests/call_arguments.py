"""Arguments of the Python functions, checked as the options of commands are: a wrong one is an InputError."""

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from types import NoneType
from typing import Any, ParamSpec, TypeVar, get_args

from prosafeprune.errors import InputError, refused_by_system
from prosafeprune.files.user_path import user_path
from prosafeprune.requests.parsing import shown_value

P = ParamSpec("P")
R = TypeVar("R")
SIMPLE = frozenset((str, bool, int, Path, NoneType))
"""Types of arguments that are checked here; those of others are checked by the requests."""
Paths = str | Path | Sequence[str | Path]
"""One path or several."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with its own arguments checked.

    What the operating system says of a path or a disk becomes an InputError, too, as on the command line.

    Raises:
        InputError: an argument has a wrong type, or is a path that cannot be one.
    """
    signature = inspect.signature(function, eval_str=True)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        for name, value in given.arguments.items():
            parameter = signature.parameters[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                for item in value:
                    _require(name, item, parameter.annotation)
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


def _usable(name: str, value: Any, kind: Any) -> Any:
    """Return an argument; paths of other libraries as a path of Python's."""
    if kind == Paths:
        several = value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
        paths = [_usable(name, path, str | Path) for path in several]
        if not paths:
            raise InputError(f"{name}: no file is named. Name at least one.")
        return paths
    _require(name, value, kind)
    if value is None or Path not in get_args(kind):
        return value
    user_path(value)
    return value if isinstance(value, str | Path) else Path(value)


def _require(name: str, value: object, kind: Any) -> None:
    options = get_args(kind) or (kind,)
    if not SIMPLE.issuperset(options):
        return
    accepted = (*options, os.PathLike) if Path in options else options
    is_switch = isinstance(value, bool) and bool not in options
    if is_switch or not isinstance(value, accepted):
        names = " or ".join("None" if option is NoneType else option.__name__ for option in options)
        raise InputError(f"{name}: must be {names} (given: {shown_value(value)}).")
