"""Check that every ``prosafeprune`` command and call in the pages is one that the program takes.

    PYTHONPATH=scripts python -m checks.commands

A command in a code block is run up to the point where its job would begin: options must exist, values be valid and fit
together. Of a command in a sentence, which may be shortened, the subcommand and the options must exist. A block of
Python, in a page or a notebook, must be valid, and what it takes from the package must exist.
"""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import typer
from pydantic import BaseModel

import prosafeprune
from checks.repository import lines_with_fences, markdown_pages, read, tracked_files
from prosafeprune.cli.application import app
from prosafeprune.errors import InputError

INLINE = re.compile(r"`(prosafeprune (?:[a-z-]|--)[^`]*)`")
PROMPT = re.compile(r"^\s*(?:\$ )?(?:\w+=\S+ )*(?:torchrun .*?-m )?(?=prosafeprune(?:\s|$))")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """A command or a piece of Python that a page shows."""

    page: Path
    line: int
    text: str
    whole: bool = True
    """False for a command in a sentence, which may be shortened."""

    def problem(self, what: str) -> str:
        """Return one line that says what is wrong, and where."""
        return f"{self.page}:{self.line}: {self.text.strip().splitlines()[0]}: {what}"


def shown_commands(page: Path, text: str) -> Iterator[Shown]:
    """Yield the commands of a page: each line of a code block that starts one, and those between backquotes."""
    started: Shown | None = None
    for number, line, language in lines_with_fences(text):
        if started is not None:
            started = Shown(page, started.line, f"{started.text} {line.strip()}")
        elif language in ("", "sh", "bash", "shell", "console") and PROMPT.match(line):
            started = Shown(page, number, PROMPT.sub("", line))
        elif language is None:
            yield from (Shown(page, number, found, whole=False) for found in INLINE.findall(line))
        if started is not None:
            if started.text.endswith("\\"):
                started = Shown(page, started.line, started.text[:-1])
            else:
                yield started
                started = None


def shown_python(page: Path, text: str) -> Iterator[Shown]:
    """Yield the blocks of Python of a page."""
    for block in BLOCK.finditer(text):
        yield Shown(page, text.count("\n", 0, block.start(1)) + 1, block.group(1))


def shown_cells(notebook: Path, text: str) -> Iterator[Shown]:
    """Yield the code cells of a notebook, numbered from 1."""
    for number, cell in enumerate(json.loads(text)["cells"], 1):
        if cell["cell_type"] == "code":
            yield Shown(notebook, number, "".join(cell["source"]))


def command_problem(shown: Shown) -> str | None:
    """Return what is wrong with a command, or None. To be called inside :func:`jobs_stopped`."""
    try:
        _, *words = shlex.split(shown.text, comments=True)
    except ValueError as error:
        return shown.problem(str(error))
    words = [word for word in words if word not in ("...", "…")]
    group: Any = typer.main.get_command(app)
    if not words or words[0].startswith("-"):
        known = {"--help", "--version", "--install-completion"}
        return None if set(words) <= known else shown.problem("no such option")
    command, named = group.commands.get(words[0]), words[0]
    if command is not None and hasattr(command, "commands") and words[1:] and not words[1].startswith("-"):
        command, named = command.commands.get(words[1]), " ".join(words[:2])
    if command is None:
        return shown.problem(f"no command {named!r}")
    if "--help" in words:
        return None
    if not shown.whole:
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        unknown = [word for word in words[1:] if word.startswith("-") and word.split("=")[0] not in known]
        return shown.problem(f"no option {unknown[0]}") if unknown else None
    try:
        group.main(words, standalone_mode=False)
    except _JobReached:
        return None
    except InputError as error:  # the files of the pages do not exist here
        return None if "no such" in str(error) else shown.problem(str(error))
    except Exception as error:  # noqa: BLE001  click's own errors, which typer brings along under another name
        return shown.problem(getattr(error, "message", "") or str(error) or type(error).__name__)
    return shown.problem("ran without a job")


class _JobReached(Exception):
    """A command has read its settings and would now begin its work."""


@contextmanager
def jobs_stopped() -> Iterator[None]:
    """Inside the context, no job begins: every ``run_*`` of ``prosafeprune.jobs`` raises, wherever it was imported.

    The checks before a job do the same: the files that pages name are not here.
    """

    def stop(*arguments: object, **options: object) -> None:
        raise _JobReached

    for found in pkgutil.iter_modules(import_module("prosafeprune.jobs").__path__):
        import_module(f"prosafeprune.jobs.{found.name}")
    import_module("prosafeprune.api")
    import_module("prosafeprune.setup.prepare")
    ours = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "prosafeprune"]
    jobs = [
        (module, name)
        for module in ours
        for name, value in vars(module).items()
        if (name.startswith("run_") and str(getattr(value, "__module__", "")).startswith("prosafeprune.jobs."))
        or name == "push_target"  # asks the hub
        or (name.startswith("check_") and getattr(value, "__module__", "") == "prosafeprune.setup.prepare")
    ]
    with ExitStack() as patches:
        for module, name in jobs:
            patches.enter_context(mock.patch.object(module, name, stop))
        yield


def python_problems(shown: Shown) -> Iterator[str]:
    """Yield what is wrong with a block of Python: names that are not public, settings that a function does not take."""
    try:
        tree = ast.parse(shown.text)
    except SyntaxError as error:
        yield shown.problem(f"not Python: {error}")
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "prosafeprune":
            if node.attr not in (*prosafeprune.__all__, "__version__"):
                yield shown.problem(f"prosafeprune.{node.attr} is not public")
        elif isinstance(node, ast.ImportFrom) and node.module == "prosafeprune":
            for name in node.names:
                if name.name not in prosafeprune.__all__:
                    yield shown.problem(f"prosafeprune.{name.name} is not public")
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("prosafeprune."):
            missing = [name.name for name in node.names if not hasattr(import_module(str(node.module)), name.name)]
            yield from (shown.problem(f"{node.module} has no {name}") for name in missing)
        elif isinstance(node, ast.Call):
            yield from _call_problems(shown, node)


def _call_problems(shown: Shown, call: ast.Call) -> Iterator[str]:
    if not (isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "prosafeprune"):
        return
    name = call.func.attr
    function = getattr(prosafeprune, name, None) if name in prosafeprune.__all__ else None
    if not inspect.isfunction(function):
        return
    known = _keywords(function)
    for keyword in call.keywords:
        if keyword.arg is not None and keyword.arg not in known:
            yield shown.problem(f"{name} has no setting {keyword.arg!r}")


def _keywords(function: Any) -> set[str]:
    """Return the keywords of a function; where it passes further ones on, the fields of any request, too."""
    parameters = inspect.signature(function).parameters.values()
    names = {parameter.name for parameter in parameters}
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        public = [getattr(prosafeprune, name) for name in prosafeprune.__all__]
        requests = [member for member in public if inspect.isclass(member) and issubclass(member, BaseModel)]
        names |= {field for request in requests for field in request.model_fields}
    return names


def problems() -> list[str]:
    """Return a line for each command or call in the pages that the program would not take."""
    found: list[str] = []
    for page in markdown_pages():
        text = read(page)
        with jobs_stopped():
            found += [problem for shown in shown_commands(page, text) if (problem := command_problem(shown))]
        found += [problem for shown in shown_python(page, text) for problem in python_problems(shown)]
    for notebook in (path for path in tracked_files() if path.suffix == ".ipynb"):
        cells = shown_cells(notebook, read(notebook))
        found += [problem for shown in cells for problem in python_problems(shown)]
    return found


def main() -> int:
    """Print what is wrong; return the exit code."""
    found = problems()
    print("\n".join(found) if found else "commands: all parse")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
