"""Answers made elsewhere: one JSON object a line with a prompt and a completion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.judge.verdict import Exchange


def read_answers(path: Path, *required: str) -> tuple[list[Exchange], list[dict[str, Any]]]:
    """Return the exchanges of a file and its rows; each row has ``prompt``, ``completion`` and the ``required`` fields.

    Raises:
        InputError: no such file, a row that is not such an object, or no row at all.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file. Check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}).") from error
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            rows.append(_read_row(line, f"{path}, line {number}", ("prompt", "completion", *required)))
    if not rows:
        raise InputError(f"{path}: holds no answer. Write one JSON object a line.")
    return [Exchange(row["prompt"], row["completion"]) for row in rows], rows


def _read_row(line: str, place: str, fields: tuple[str, ...]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: not valid JSON ({error.msg}).") from error
    if not isinstance(row, dict):
        raise InputError(f"{place}: not a JSON object.")
    for field in fields:
        if field not in row:
            raise InputError(f"{place}: no field '{field}' among: {', '.join(row)}.")
    if not isinstance(row["prompt"], str) or not isinstance(row["completion"], str):
        raise InputError(f"{place}: prompt and completion must be text.")
    return row
