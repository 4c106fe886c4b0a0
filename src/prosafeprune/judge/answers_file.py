"""Answers from elsewhere, each a prompt with a completion: JSON lines, or CSV as ``--sample`` writes it."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prosafeprune.errors import InputError
from prosafeprune.files.staging import write_whole
from prosafeprune.judge.label_sheet import unguarded
from prosafeprune.judge.verdict import Exchange, Verdict
from prosafeprune.prompts.conversation import stored_prompt
from prosafeprune.prompts.rows import csv_rows, json_rows, require_complete_characters


class AnswerFields(NamedTuple):
    """The fields, or columns, of an answers file."""

    prompt: str = "prompt"
    completion: str = "completion"


DEFAULT_FIELDS = AnswerFields()


def read_answers(
    path: Path, *required: str, names: AnswerFields = DEFAULT_FIELDS
) -> tuple[list[Exchange], list[dict[str, Any]]]:
    """Return the exchanges of a file and its rows; each row has ``prompt``, ``completion`` and the ``required`` fields.

    In the file, prompts and completions may have other ``names``. CSV rows with an empty required field are skipped:
    the sheet may be labelled only in part.

    Raises:
        InputError: no such file, a row that is not such an object, or no row at all.
    """
    fields = (*names, *required)
    is_table = path.suffix.lower() == ".csv"
    numbered = csv_rows(path) if is_table else json_rows(path)
    rows = [_checked(row, f"{path}, line {number}", fields) for number, row in numbered]
    if is_table:
        rows = [{name: unguarded(value) for name, value in row.items()} for row in rows]
        rows = [row for row in rows if all(row[field].strip() for field in required)]
    if not rows:
        fault = "holds no labelled answer. Fill in its label column" if is_table and required else "holds no answer"
        raise InputError(f"{path}: {fault}." if is_table else f"{path}: {fault}. Write one JSON object per line.")
    rows = [{**row, "prompt": row[names.prompt], "completion": row[names.completion]} for row in rows]
    return [Exchange(stored_prompt(row["prompt"]), row["completion"]) for row in rows], rows


def _checked(row: Mapping[str, Any], place: str, fields: tuple[str, ...]) -> dict[str, Any]:
    for field in fields:
        if field not in row:
            raise InputError(f"{place}: no field '{field}' among: {', '.join(row)[:200]}.{_remedy(field, fields)}")
    if not all(isinstance(row[field], str) for field in fields[:2]):
        raise InputError(f"{place}: {' and '.join(fields[:2])} must be text.")
    require_complete_characters(row, place)
    return dict(row)


def _remedy(field: str, fields: tuple[str, ...]) -> str:
    options = ("--prompt-field", "--answer-field")
    return f" Name it with {options[fields.index(field)]}." if field in fields[:2] else ""


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
    """Write each row with its verdict (``class``, ``reason`` and more), one JSON object per line; all or nothing.

    Raises:
        InputError: the disk is full or fails.
    """
    judged = ({**row, **verdict.as_row()} for row, verdict in zip(rows, verdicts, strict=True))
    write_whole(path, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in judged))
