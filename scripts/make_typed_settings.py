"""Write ``requests/typed_settings.py``: the settings of each command as typed dictionaries, made from the requests.

Run it after a change of a request's fields; ``tests/test_api.py`` compares the file with the requests.
"""

from __future__ import annotations

import types
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

import prosafeprune
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.parsing import PathOrName
from prosafeprune.requests.prompt_tools import CheckRequest, MineRequest, RateRequest, SplitRequest
from prosafeprune.requests.recipe import Recipe
from prosafeprune.requests.search import SearchRequest

FILE = Path(prosafeprune.__file__).parent / "requests" / "typed_settings.py"
DICTIONARIES: dict[str, tuple[type[BaseModel], tuple[str, ...]]] = {
    "PruneSettings": (Recipe, ("model", "layers")),
    "PruneUnmeasuredSettings": (Recipe, ("model", "layers", "memory", "unmeasured")),
    "SearchSettings": (SearchRequest, ("model",)),
    "ApplySettings": (ApplyRequest, ("model", "strength")),
    "EvaluateSettings": (EvaluateRequest, ("model",)),
    "CompareSettings": (CompareRequest, ("model", "methods", "layers")),
    "AnalyzeSettings": (AnalyzeRequest, ("model", "against")),
    "JudgeSettings": (JudgeOptions, ()),
    "MineSettings": (MineRequest, ()),
    "RateSettings": (RateRequest, ("model",)),
    "CheckSettings": (CheckRequest, ()),
    "SplitSettings": (SplitRequest, ()),
}
"""The request of each dictionary, and the fields that its function in ``prosafeprune.api`` names itself."""
ACCEPTED = {"layers": "int | str | Sequence[int] | None", "budget": "int | str"}
"""Fields whose validator accepts more than their type says."""
LINE_LENGTH = 120
HEADER = '''"""The settings of each command as typed dictionaries, so that editors complete and check keyword arguments.

Written by ``scripts/make_typed_settings.py``; do not edit. The requests have the descriptions and defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from prosafeprune.method.plan import Pooling, Projection
'''


def source() -> str:
    """Return the text of the module."""
    classes: dict[str, str] = {}
    for name, (request, named) in DICTIONARIES.items():
        _add_class(classes, name, request, {"model", *named})
    return HEADER + "".join(classes.values())


def _add_class(classes: dict[str, str], name: str, request: type[BaseModel], named: Collection[str]) -> None:
    """Add the dictionary of a request after those of the options that it is composed of."""
    bases, fields = _composed(request, named)
    for base in bases:
        if _name(base) not in classes:
            _add_class(classes, _name(base), base, {"model"})
    head = f"class {name}({', '.join([*map(_name, bases)] or ['TypedDict'])}, total=False):"
    if len(head) > LINE_LENGTH:
        head = f"class {name}(\n" + "".join(f"    {_name(base)},\n" for base in bases) + "    total=False,\n):"
    lines = [f"\n    {field}: {kind}" for field, kind in fields.items()]
    classes[name] = f"\n\n{head}" + ("".join(lines) or "\n    pass") + "\n"


def _composed(request: type[BaseModel], named: Collection[str]) -> tuple[list[type[BaseModel]], dict[str, str]]:
    """Return the bases of a request that have none of the fields ``named``, and the other fields with their types."""
    bases: list[type[BaseModel]] = []
    fields: dict[str, str] = {}
    for base in request.__bases__:
        if base is BaseModel or not issubclass(base, BaseModel):
            continue
        if base.model_fields.keys() & named - {"model"}:
            further, more = _composed(base, named)
            bases, fields = bases + further, fields | more
        elif base.model_fields.keys() - {"model"}:
            bases.append(base)
    bases = [base for base in bases if not any(issubclass(other, base) for other in bases if other is not base)]
    inherited = {field for base in bases for field in base.model_fields}
    for field in sorted(request.__annotations__.keys() & request.model_fields.keys() - inherited - set(named)):
        fields[field] = ACCEPTED.get(field, _accepted(request.model_fields[field].annotation))
    return list(dict.fromkeys(bases)), fields


def _name(request: type[BaseModel]) -> str:
    """Return the name of a request's dictionary: its own, or that of options which several requests share."""
    own = {given: name for name, (given, named) in DICTIONARIES.items() if not {*named} - {"model"}}
    return own.get(request, f"{request.__name__}Settings")


def _accepted(kind: Any) -> str:
    """Return the type of the values that a field of a type accepts, as source."""
    parts: dict[str, None] = {}
    for member in _members(kind):
        parts |= dict.fromkeys(_member(member))
    return " | ".join(sorted(parts, key=lambda part: part == "None"))


def _members(kind: Any) -> list[Any]:
    if kind == PathOrName:
        return [Path]
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [member for argument in get_args(kind) for member in _members(argument)]
    return [kind]


def _member(kind: Any) -> list[str]:
    if kind is None or kind is type(None):
        return ["None"]
    if get_origin(kind) is Literal:
        return [_literal(get_args(kind))]
    if get_origin(kind) is tuple and get_args(kind)[0] == PathOrName:  # also a single one
        return ["str", "Path", "Sequence[str | Path]", "None"]
    if get_origin(kind) is tuple:  # also as text, separated by commas
        return ["str", f"Sequence[{_accepted(get_args(kind)[0])}]"]
    if kind is Path:
        return ["str", "Path"]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [kind.__name__, _literal([member.value for member in kind])]
    return [str(kind.__name__)]


def _literal(values: Collection[Any]) -> str:
    return f"Literal[{', '.join(f'{chr(34)}{value}{chr(34)}' for value in values)}]"


if __name__ == "__main__":
    FILE.write_text(source(), encoding="utf-8")
