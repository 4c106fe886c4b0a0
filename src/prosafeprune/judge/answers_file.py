"""Answers made elsewhere, with a prompt and a completion each: JSON lines, or CSV as ``--sample`` writes it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.files.staging import write_whole
from prosafeprune.judge.label_sheet import unguarded
from prosafeprune.judge.verdict import Exchange, Verdict
from prosafeprune.prompts.rows import csv_rows, json_rows


def read_answers(path: Path, *required: str) -> tuple[list[Exchange], list[dict[str, Any]]]:
    """Return the exchanges of a file and its rows; each row has ``prompt``, ``completion`` and the ``required`` fields.

    Rows of a CSV file in which a required field was left empty, as in a sheet labelled in part, are left out.

    Raises:
        InputError: no such file, a row that is not such an object, or no row at all.
    """
    fields = ("prompt", "completion", *required)
    is_table = path.suffix.lower() == ".csv"
    numbered = csv_rows(path) if is_table else json_rows(path)
    rows = [_checked(row, f"{path}, line {number}", fields) for number, row in numbered]
    if is_table:
        rows = [{name: unguarded(value) for name, value in row.items()} for row in rows]
        rows = [row for row in rows if all(row[field].strip() for field in required)]
    if not rows:
        fault = "holds no labelled answer. Fill in its label column" if is_table and required else "holds no answer"
        raise InputError(f"{path}: {fault}." if is_table else f"{path}: {fault}. Write one JSON object a line.")
    return [Exchange(row["prompt"], row["completion"]) for row in rows], rows


def _checked(row: Mapping[str, Any], place: str, fields: tuple[str, ...]) -> dict[str, Any]:
    for field in fields:
        if field not in row:
            raise InputError(f"{place}: no field '{field}' among: {', '.join(row)[:200]}.")
    if not isinstance(row["prompt"], str) or not isinstance(row["completion"], str):
        raise InputError(f"{place}: prompt and completion must be text.")
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place}: has half of a character (a lone surrogate, such as a cut emoji). Fix or remove the row."
        ) from error
    return dict(row)


def check_verdicts_file(path: Path, overwrite: bool) -> None:
    """Raise InputError, before the long work, unless verdicts can be written to ``path``."""
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder. Name a file.")
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists already. Choose another --output, or pass --overwrite.")
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise InputError(f"{path}: its folder does not exist or cannot be written to. Choose another --output.")
    except OSError as error:  # a name that is too long
        raise InputError(f"{path}: cannot be written ({error.strerror}). Choose another --output.") from error


def write_verdicts(path: Path, rows: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]) -> None:
    """Write each row with its verdict (``class``, ``reason`` and more), one JSON object a line; all or nothing.

    Raises:
        InputError: the disk is full or fails.
    """
    judged = ({**row, **verdict.as_row()} for row, verdict in zip(rows, verdicts, strict=True))
    write_whole(path, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in judged))
