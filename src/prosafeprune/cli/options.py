"""Command-line options made from the fields of settings, the one place that has their descriptions and defaults."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any, get_type_hints

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Command = Callable[..., None]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Ray cluster that shares the work, such as auto or host:6379; docs/many_machines.md. An extra: [ray].",
        show_default=False,
    ),
]
ARGUMENT = "model"
"""The one setting that is given by its place."""


def options_of(settings: type[BaseModel], *, without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Give a command an option for each field of its settings.

    The command takes what was given of them as its first argument, a dict, and declares only what is no setting.
    Values are taken as text: the settings, which all ways go through, check them.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        declared = dict(list(inspect.signature(command).parameters.items())[1:])
        fields = [name for name in _in_order(settings) if name not in without]
        place = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            *(one.replace(kind=place, annotation=hints[name]) for name, one in declared.items()),
            *(inspect.Parameter(name, place, default=None, annotation=_annotation(settings, name)) for name in fields),
        ]

        @functools.wraps(command)
        def called(**given: Any) -> None:
            # An option that may be repeated and was not given comes as an empty list.
            asked = {name: given.pop(name) for name in fields}
            command({name: value for name, value in asked.items() if value not in (None, [])}, **given)

        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        return called

    return decorate


def _in_order(settings: type[BaseModel]) -> list[str]:
    """Return the fields, a command's own before those that it shares with others."""
    owners = [owner for owner in settings.__mro__ if issubclass(owner, BaseModel)]
    names = [name for owner in owners for name in inspect.get_annotations(owner)]
    return [name for name in dict.fromkeys(names) if name in settings.model_fields]


def _annotation(settings: type[BaseModel], name: str) -> Any:
    if name == ARGUMENT:
        return Annotated[str | None, typer.Argument(help=_described(settings, name), show_default=False)]
    field = settings.model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    names = [f"--{name.replace('_', '-')}", *([str(extra["short"])] if "short" in extra else [])]
    kind: Any = bool if field.annotation is bool else list[str] if "short" in extra else str
    made = typer.Option(
        *names,
        help=_described(settings, name),
        show_default=False,
        metavar="NUMBER" if field.annotation in (int, float) else None,
        rich_help_panel=_owner(settings, name).model_config["title"],
    )
    return Annotated[kind | None, made]


def _owner(settings: type[BaseModel], name: str) -> type[BaseModel]:
    owners = (owner for owner in settings.__mro__ if issubclass(owner, BaseModel))
    return next(owner for owner in owners if name in inspect.get_annotations(owner))


def _described(settings: type[BaseModel], name: str) -> str:
    """Return a setting's description and default."""
    field: FieldInfo = settings.model_fields[name]
    default = getattr(field.default, "value", field.default)
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    told = field.is_required() or default is None or default is False or default == ""
    return f"{field.description}" if told else f"{field.description} Default: {default}."
