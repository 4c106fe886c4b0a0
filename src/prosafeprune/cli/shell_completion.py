"""Values that the shell offers for an option: those of its type, or the names that a command knows."""

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from prosafeprune.requests.compare import METHOD_NAMES, ON_REQUEST
from prosafeprune.requests.judging import JUDGE_NAMES
from prosafeprune.requests.measuring import TASK_NAMES

Completer = Callable[[str], list[str]]
"""Maps what was typed to the words that begin with it."""


def _benchmarks() -> Iterable[str]:
    from prosafeprune.evaluation.sets import BENCHMARK_NAMES

    return BENCHMARK_NAMES


NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "ability": lambda: (*TASK_NAMES, "all"),
    "benchmark": _benchmarks,
    "device": lambda: ("auto", "cpu", "cuda", "all", "mps"),
    "dtype": lambda: ("auto", "float32", "bfloat16", "float16"),
    "general": lambda: TASK_NAMES,
    "judge": lambda: JUDGE_NAMES,
    "judge_device": lambda: ("auto", "cpu", "cuda", "mps"),
    "method": lambda: (*METHOD_NAMES, *ON_REQUEST),
    "methods": lambda: (*METHOD_NAMES, *ON_REQUEST),
    "submodule": lambda: ("q", "k", "v", "o", "gate", "up", "down"),
}
"""Values of settings that are plain text to their request; file names and others are accepted, too."""
LISTS = frozenset(("ability", "methods"))
"""Settings that take several, separated by commas."""


def completer_of(name: str, annotation: Any) -> Completer | None:
    """Return what completes the values of a setting; None leaves them to the shell, which completes file names."""
    choices = list(_choices(annotation))
    if name in NAMES:
        return _completer(NAMES[name], several=name in LISTS)
    return _completer(lambda: choices) if choices else None


def _completer(names: Callable[[], Iterable[str]], *, several: bool = False) -> Completer:
    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        given = before.split(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(last) and name not in given]

    return complete


def _choices(annotation: Any) -> Iterable[str]:
    """Yield the values of a Literal or an enumeration, also as a part of a union."""
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from (str(member.value) for member in annotation)
    else:
        for part in get_args(annotation):
            yield from _choices(part)
