"""Prompts from a local .jsonl, .csv or .txt file, a CSV file on the web, or a dataset on the hub."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError, first_line
from prosafeprune.prompts.download import fetch
from prosafeprune.prompts.prompt_set import Prompt, PromptClass, PromptSet

FILE_TYPES = (".jsonl", ".csv", ".txt")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Columns:
    """Where in a row the prompt stands, and which rows count."""

    fields: tuple[str, ...]
    keep: Callable[[Row], bool] | None


def read_prompts(
    source: str,
    prompt_class: PromptClass | str,
    field: str | Sequence[str] = "prompt",
    keep: Callable[[Row], bool] | None = None,
) -> PromptSet:
    """Read prompts from ``source``, keeping the first of exact repeats.

    ``source`` is a path ending in .jsonl, .csv or .txt (one prompt a line), the https address of a .csv file, or a hub
    dataset id, optionally with a split (``org/name:train``) or a configuration and a split (``org/name:hard:train``).
    ``field`` names the column of the prompt, or several of which the first found counts; a column ``category`` is kept
    if there is one. Rows of which ``keep`` says no are left out.

    Raises:
        InputError: no such file or dataset, a row that cannot be read, no column ``field``, or no prompt at all.
    """
    prompt_class = PromptClass(prompt_class)
    columns = _Columns((field,) if isinstance(field, str) else tuple(field), keep)
    path = Path(source).expanduser()
    if source.startswith("https://"):
        prompts = list(_from_file(fetch(source), columns))
    elif path.suffix.lower() in FILE_TYPES:
        prompts = list(_from_file(path, columns))
    elif path.exists():
        raise InputError(f"{source}: prompts are read from {', '.join(FILE_TYPES)} files; convert it to one of them.")
    elif source.count("/") == 1 and not source.startswith((".", "/", "~")):
        dataset, *rest = source.split(":")
        configuration, split = [None, None, *rest][-2:] if len(rest) < 2 else rest[:2]
        prompts = list(_from_hub(dataset, configuration, split, columns, source))
    else:
        raise InputError(f"{source}: no such file. Give a .jsonl, .csv or .txt file or a hub dataset id (org/name).")
    unique: dict[str, Prompt] = {}
    for prompt in prompts:
        unique.setdefault(prompt.text, prompt)
    if not unique:
        raise InputError(f"{source}: holds no prompt. Give at least one.")
    return PromptSet(prompt_class, source, tuple(unique.values()))


def json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield each object of a JSON Lines file with the number of its line, from 1.

    Raises:
        InputError: no such file, not UTF-8, or a line that is not a JSON object.
    """
    for number, line in _lines(_read_text(path)):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number}: not valid JSON ({error.msg}). Write one object a line."
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object. Write one object a line.")
        yield number, row


def _from_file(path: Path, columns: _Columns) -> Iterator[Prompt]:
    if path.suffix.lower() == ".txt":
        lines = _lines(_read_text(path))
        yield from (Prompt(line.strip(), line=number) for number, line in lines if line.strip())
    elif path.suffix.lower() == ".csv":
        yield from _from_rows(_csv_rows(_read_text(path), path), columns, str(path))
    else:
        yield from _from_rows(json_rows(path), columns, str(path))


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}). Save it as UTF-8.") from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # On newlines alone: str.splitlines() also breaks at characters that prompts may hold.
    return enumerate(text.split("\n"), 1)


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}). Mend the row.") from error


def _from_rows(rows: Iterable[tuple[int, Row]], columns: _Columns, source: str) -> Iterator[Prompt]:
    for number, row in rows:
        field = next((name for name in columns.fields if name in row), None)
        if field is None:
            there = ", ".join(str(name) for name in row)
            raise InputError(
                f"{source}, line {number}: no column '{columns.fields[0]}' among: {there}. Name it with --prompt-field."
            )
        if columns.keep is not None and not columns.keep(row):
            continue
        text = row[field]
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{source}, line {number}: '{field}' is empty or not text. Mend or remove the row.")
        yield Prompt(text.strip(), str(row.get("category") or row.get("Category") or ""), number)


def _from_hub(
    dataset: str, configuration: str | None, split: str | None, columns: _Columns, source: str
) -> Iterator[Prompt]:
    import datasets

    try:
        loaded = datasets.load_dataset(dataset, configuration, split=split)
    except Exception as error:
        raise InputError(
            f"{source}: the dataset could not be loaded ({first_line(error)}). If it is gated, accept its terms and "
            "set HF_TOKEN; or download it and give the file."
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        if len(loaded) != 1:
            raise InputError(f"{source}: has the splits {', '.join(loaded)}. Name one: {dataset}:{next(iter(loaded))}.")
        loaded = next(iter(loaded.values()))
    yield from _from_rows(enumerate(loaded, 1), columns, source)
