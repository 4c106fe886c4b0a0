"""Prompts of the user's own: a local .jsonl, .csv or .txt file, or a dataset on the hub."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.prompts.prompt_set import Prompt, PromptClass, PromptSet

FILE_TYPES = (".jsonl", ".csv", ".txt")


def read_prompts(source: str, prompt_class: PromptClass | str, field: str = "prompt") -> PromptSet:
    """Read prompts from ``source``, keeping the first of exact repeats.

    ``source`` is a path ending in .jsonl, .csv or .txt (one prompt a line), or a hub dataset id, optionally with a
    split (``org/name:train``) or a configuration and a split (``org/name:hard:train``). ``field`` names the column of
    the prompt; a column ``category`` is kept if there is one.

    Raises:
        InputError: no such file or dataset, a row that cannot be read, no column ``field``, or no prompt at all.
    """
    prompt_class = PromptClass(prompt_class)
    path = Path(source).expanduser()
    if path.suffix.lower() in FILE_TYPES:
        prompts = list(_from_file(path, field))
    elif path.exists():
        raise InputError(f"{source}: prompts are read from {', '.join(FILE_TYPES)} files; convert it to one of them.")
    elif source.count("/") == 1 and not source.startswith((".", "/", "~")):
        prompts = list(_from_hub(source, field))
    else:
        raise InputError(f"{source}: no such file. Give a .jsonl, .csv or .txt file or a hub dataset id (org/name).")
    unique: dict[str, Prompt] = {}
    for prompt in prompts:
        unique.setdefault(prompt.text, prompt)
    if not unique:
        raise InputError(f"{source}: holds no prompt. Give at least one.")
    return PromptSet(prompt_class, source, tuple(unique.values()))


def _from_file(path: Path, field: str) -> Iterator[Prompt]:
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}). Save it as UTF-8.") from error
    # Split on newlines alone, here and below: str.splitlines() also breaks at characters that prompts may hold.
    lines = enumerate(text.split("\n"), 1)
    if path.suffix.lower() == ".txt":
        yield from (Prompt(line.strip(), line=number) for number, line in lines if line.strip())
    elif path.suffix.lower() == ".csv":
        yield from _from_rows(_csv_rows(text, path), field, str(path))
    else:
        yield from _from_rows(_json_rows(lines, path), field, str(path))


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}). Mend the row.") from error


def _json_rows(lines: Iterable[tuple[int, str]], path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in lines:
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


def _from_rows(rows: Iterable[tuple[int, Mapping[str, Any]]], field: str, source: str) -> Iterator[Prompt]:
    for number, row in rows:
        if field not in row:
            columns = ", ".join(str(name) for name in row)
            raise InputError(
                f"{source}, line {number}: no column '{field}' among: {columns}. Name it with --prompt-field."
            )
        text = row[field]
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{source}, line {number}: '{field}' is empty or not text. Mend or remove the row.")
        yield Prompt(text.strip(), str(row.get("category") or ""), number)


def _from_hub(source: str, field: str) -> Iterator[Prompt]:
    import datasets

    name, *rest = source.split(":")
    configuration, split = [None, None, *rest][-2:] if len(rest) < 2 else rest[:2]
    try:
        loaded = datasets.load_dataset(name, configuration, split=split)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{source}: the dataset could not be loaded ({reason}). If it is gated, accept its terms and set HF_TOKEN; "
            "or download it and give the file."
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        if len(loaded) != 1:
            raise InputError(f"{source}: has the splits {', '.join(loaded)}. Name one: {name}:{next(iter(loaded))}.")
        loaded = next(iter(loaded.values()))
    yield from _from_rows(enumerate(loaded, 1), field, source)
