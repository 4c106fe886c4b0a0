"""Answers from elsewhere, each a prompt with a completion: JSON lines, or CSV as ``--sample`` writes it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prosafeprune.errors import InputError
from prosafeprune.judge.label_sheet import unguarded
from prosafeprune.judge.verdict import Exchange, Verdict


class AnswerFields(NamedTuple):
    """The fields, or columns, of an answers file."""

    prompt: str = "prompt"
    completion: str = "completion"


OURS = AnswerFields()


def read_answers(path: Path, *required: str, names: AnswerFields = OURS) -> tuple[list[Exchange], list[dict[str, Any]]]:
    """Return the exchanges of a file and its rows; each row has ``prompt``, ``completion`` and the ``required`` fields.

    In the file, prompts and completions may have other ``names``. CSV rows with an empty required field are skipped:
    the sheet may be labelled only in part.

    Raises:
        InputError: no such file, a row that is not such an object, or no row at all.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file. Check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}).") from error
    fields = (*names, *required)
    is_table = path.suffix.lower() == ".csv"
    rows = _read_table(text, path, fields) if is_table else _read_lines(text, path, fields)
    if not rows:
        fault = "holds no labelled answer. Fill in its label column" if is_table and required else "holds no answer"
        raise InputError(f"{path}: {fault}." if is_table else f"{path}: {fault}. Write one JSON object per line.")
    rows = [{**row, "prompt": row[names.prompt], "completion": row[names.completion]} for row in rows]
    return [Exchange(row["prompt"], row["completion"]) for row in rows], rows


def _read_lines(text: str, path: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        _read_row(line, f"{path}, line {number}", fields)
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]


def _read_table(text: str, path: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text))
    missing = [field for field in fields if field not in (reader.fieldnames or ())]
    if missing:
        columns = ", ".join(reader.fieldnames or ["none"])
        raise InputError(f"{path}: no column '{missing[0]}' among: {columns}.{_remedy(missing[0], fields)}")
    rows = [{name: unguarded(value or "") for name, value in row.items() if name} for row in reader]
    return [row for row in rows if all(row[field].strip() for field in fields[2:])]


def _read_row(line: str, place: str, fields: tuple[str, ...]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: not valid JSON ({error.msg}).") from error
    if not isinstance(row, dict):
        raise InputError(f"{place}: not a JSON object.")
    for field in fields:
        if field not in row:
            raise InputError(f"{place}: no field '{field}' among: {', '.join(row)}.{_remedy(field, fields)}")
    if not all(isinstance(row[field], str) for field in fields[:2]):
        raise InputError(f"{place}: {' and '.join(fields[:2])} must be text.")
    return row


def _remedy(field: str, fields: tuple[str, ...]) -> str:
    options = ("--prompt-field", "--answer-field")
    return f" Name it with {options[fields.index(field)]}." if field in fields[:2] else ""


def check_verdicts_file(path: Path, overwrite: bool) -> None:
    """Raise InputError, before the long work, unless verdicts can be written to ``path``."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder. Name a file.")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already. Choose another --output, or pass --overwrite.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: its folder does not exist or cannot be written to. Choose another --output.")


def write_verdicts(path: Path, rows: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]) -> None:
    """Write each row with its verdict (``class``, ``reason`` and more), one JSON object per line; all or nothing.

    Raises:
        InputError: the disk is full or fails.
    """
    partial = path.parent / f".{path.name}.partial-{os.getpid()}"
    try:
        with partial.open("w", encoding="utf-8") as stream:
            for row, verdict in zip(rows, verdicts, strict=True):
                judged = {**row, **verdict.as_row()}
                stream.write(json.dumps(judged, ensure_ascii=False) + "\n")
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: could not be written ({error.strerror or error}). Nothing was left behind."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
