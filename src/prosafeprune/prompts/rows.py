"""Rows of JSON Lines, JSON and CSV files; an ambiguous row is an error, never a guess."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.files.text_file import read_text_file
from prosafeprune.text import SURROGATE, first_repeat, is_blank

Row = Mapping[str, Any]
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
LONGEST_HEADER = 100_000
LARGEST_CELL = 10_000_000
"""Characters of a CSV cell; Python's own limit of 131,072 is below what a prompt or a logged answer may have."""


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line of a text file with its number, from 1. Raises InputError when the file cannot be read."""
    # Split at newlines only: str.splitlines() also splits at characters that prompts may contain.
    return enumerate(read_text_file(path).split("\n"), 1)


def json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield each object of a JSON Lines file with the number of its line, from 1.

    Raises:
        InputError: no such file, not UTF-8, a line that is not a JSON object, or an object with a repeated field.
    """
    for number, line in text_lines(path):
        if not line.strip():
            continue
        row = _parsed(line, f"{path}, line {number}", "Write one object per line.")
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object. Write one object per line.")
        yield number, row


def json_list_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield each object of a JSON file that is one list, with its number, from 1.

    Raises:
        InputError: no such file, not UTF-8, not a list of objects, or an object with a repeated field.
    """
    remedy = "Write one list of objects; a file of one object per line ends in .jsonl."
    found = _parsed(read_text_file(path), str(path), remedy)
    if not isinstance(found, list):
        raise InputError(f"{path}: is not a list. {remedy}")
    for number, row in enumerate(found, 1):
        if not isinstance(row, dict):
            raise InputError(f"{place_of(path, number)}: not a JSON object. {remedy}")
        yield number, row


def place_of(path: Path, number: int) -> str:
    """Return where a row of a prompt file is, for messages: its line, or its number in a JSON list."""
    return f"{path}, {'entry' if path.suffix.lower() == '.json' else 'line'} {number}"


def field_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a .jsonl, .json or .csv file, by field, with their numbers. Raises InputError as they do."""
    readers = {".csv": csv_rows, ".json": json_list_rows}
    return readers.get(path.suffix.lower(), json_rows)(path)


def prompt_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each prompt of a text file, one a line, with the number of its line, from 1.

    Raises:
        InputError: the file cannot be read, or is one of JSON Lines.
    """
    for number, line in text_lines(path):
        if is_json_object(line):
            raise InputError(f"{path}, line {number}: is a JSON object, not a prompt. Rename the file to .jsonl.")
        if not is_blank(line):
            yield number, line.strip()


def is_json_object(line: str) -> bool:
    """Return whether a line is a JSON object: a row of JSON Lines."""
    if not line.lstrip().startswith('{"'):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield each row of a CSV file, by column, with the number of its first line, from 1.

    Columns are separated as in the header (:func:`delimiter_of`). In a file with one column, commas belong to the
    text, quoted or not.

    Raises:
        InputError: no such file, not UTF-8, a quote that is not closed, a cell that is too long, two columns of one
            name, or a row with more or fewer cells than columns.
    """
    text = read_text_file(path)
    delimiter = delimiter_of(text.lstrip("\n").split("\n", 1)[0])
    rows = _csv_cells(path, text, delimiter)
    _, columns = next(rows, (1, []))
    twice = first_repeat(columns)
    if twice is not None:
        raise InputError(f"{path}, line 1: two columns are called '{twice}'. Rename one of them.")
    for number, cells in rows:
        if len(cells) > 1 and not any(cells):  # a row without content, as spreadsheets save them
            continue
        values = [",".join(cells)] if len(columns) == 1 else cells
        if len(values) != len(columns):
            raise InputError(
                f"{path}, line {number}: has {len(values)} cells, and the header has {len(columns)}. Put text that "
                f"contains {DELIMITERS[delimiter]} or line breaks in double quotes."
            )
        yield number, dict(zip(columns, values, strict=True))


def delimiter_of(header: str) -> str:
    """Return what separates the columns in a header: where spreadsheets write a comma in numbers, it is a semicolon."""
    line = header[:LONGEST_HEADER]
    return max(DELIMITERS, key=lambda one: len(next(csv.reader([line], delimiter=one), [])))


def first_column(row: Row, columns: Sequence[str], place: str, remedy: str) -> str:
    """Return the first of some columns that a row has. Raises InputError when it has none."""
    found = next((name for name in columns if name in row), None)
    if found is None:
        there = ", ".join(str(name) for name in row)[:200]
        raise InputError(f"{place}: no column '{columns[0]}' among: {there}. {remedy}")
    return found


def require_complete_characters(value: object, place: str) -> None:
    """Raise InputError when a text in ``value`` has a lone surrogate, which tokenizers and files cannot take."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError as error:  # a depth that is just read cannot be written
        raise InputError(f"{place}: is nested too deep. Fix or remove the row.") from error
    if SURROGATE.search(text):
        raise InputError(
            f"{place}: has a lone surrogate (invalid Unicode, such as half of an emoji). Fix or remove the row."
        )


def _csv_cells(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row that is not blank, with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        first_line = reader.line_num + 1
        try:
            with long_cells():
                cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{path}, line {first_line}: not valid CSV ({error}). Close the quotes of this row, and double those "
                "inside its text."
            ) from error
        if cells:
            yield first_line, cells


@contextmanager
def long_cells() -> Iterator[None]:
    """Read CSV cells of up to ``LARGEST_CELL`` characters; the limit is one for all of Python, and is restored."""
    limit = csv.field_size_limit(LARGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _parsed(text: str, place: str, remedy: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_fields)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{place}: not valid JSON ({reason}). {remedy}") from error


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError(f"'{first_repeat(name for name, _ in pairs)}' is given twice")
    return fields
