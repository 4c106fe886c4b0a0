"""Entries of log files, one after the other: JSON lines, JSON, CSV, Parquet, inspect_ai's .eval, plain or gzipped."""

import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from prosafeprune.errors import InputError, first_line
from prosafeprune.progress import Advance, ignore
from prosafeprune.prompts.sources import MOST_CHARACTERS
from prosafeprune.text import SURROGATE, first_repeat
from prosafeprune.traffic.log_formats import Answered, UnreadableEntryError, turns_of_entry
from prosafeprune.traffic.server_log import turns_of_server_log
from prosafeprune.traffic.turns import LoggedTurn

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".parquet", ".eval", ".log", ".txt")
LONGEST_LINE = 50_000_000
"""Maximum characters of a line; a longer one is skipped."""
LARGEST_OBJECT = 500_000_000
"""Maximum characters of one JSON value that is not in lines."""
PIECE = 1 << 20
LARGEST_CELL = 10_000_000
_BETWEEN = re.compile(r"[ \t\r\n,]*")
"""What separates the items of a JSON list."""
Entry = tuple[int, Any]
"""An entry's number, from 1, and its value: an object, or an UnreadableEntryError."""


def find_logs(given: list[Path]) -> list[Path]:
    """Return the log files: those named, and those in the folders named, in order of their names.

    Raises:
        InputError: no such file, a file of another type, or a folder without a log.
    """
    found: list[Path] = []
    for path in given:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder. Check the path.")
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and ending(file) in ENDINGS)
            if not inside:
                raise InputError(f"{path}: has no log. Logs end in {', '.join(ENDINGS)}, or these with .gz.")
            found += inside
        elif not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path}: is not a regular file. Give a log file.")
        elif ending(path) not in ENDINGS:
            raise InputError(f"{path}: logs end in {', '.join(ENDINGS)}, or these with .gz. Rename or convert it.")
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def ending(path: Path) -> str:
    """Return the ending of a file's name that says what is in it, without ``.gz``."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def read_turns(
    path: Path, prompt_field: str, answer_field: str, advance: Advance = ignore
) -> Iterator[LoggedTurn | tuple[int, str]]:
    """Yield each answered user turn of a log; for an entry that cannot be read, its number and why.

    Args:
        path: a file that :func:`find_logs` returned.
        prompt_field: field or column of prompts, in entries that are no conversations.
        answer_field: field or column of answers.
        advance: called with the megabytes of the file that were read.

    Raises:
        InputError: the file itself cannot be read, or is damaged.
    """
    try:
        for number, found in _answered(path, prompt_field, answer_field, advance):
            if isinstance(found, UnreadableEntryError):
                yield number, str(found)
                continue
            turn = LoggedTurn(*found, path.name, number)
            if sum(len(text) for _, text in turn.messages) > MOST_CHARACTERS:
                yield number, f"has more than {MOST_CHARACTERS:,} characters, more than models read"
                continue
            if any(SURROGATE.search(text) for text in (turn.answer, *(text for _, text in turn.messages))):
                yield number, "is not UTF-8, or has a lone surrogate"
            else:
                yield turn
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}). Repair or leave out the file.") from error


def _answered(
    path: Path, prompt_field: str, answer_field: str, advance: Advance
) -> Iterator[tuple[int, Answered | UnreadableEntryError]]:
    if ending(path) in (".log", ".txt"):
        with _open_text(path, advance) as stream:
            yield from turns_of_server_log(_lines(stream))
        return
    for number, entry in _entries(path, advance):
        try:
            if isinstance(entry, UnreadableEntryError):
                raise entry
            if not isinstance(entry, dict):
                raise UnreadableEntryError("is not an object")
            for turn in turns_of_entry(entry, prompt_field, answer_field):
                yield number, turn
        except UnreadableEntryError as error:
            yield number, error


def _entries(path: Path, advance: Advance) -> Iterator[Entry]:
    kind = ending(path)
    if kind == ".parquet":
        yield from _parquet_rows(path, advance)
    elif kind == ".eval":
        yield from _eval_samples(path, advance)
    else:
        with _open_text(path, advance) as stream:
            yield from _csv_rows(stream) if kind == ".csv" else _json_values(stream, kind == ".json")


@contextmanager
def _open_text(path: Path, advance: Advance) -> Iterator[TextIO]:
    """Open a text file, gzipped or not; bytes that are no UTF-8 become lone surrogates."""
    with path.open("rb") as raw:
        counted = cast(BinaryIO, _Counted(raw, advance))
        plain = gzip.GzipFile(fileobj=counted) if path.name.lower().endswith(".gz") else counted
        # Split at newlines only: other line ends are inside texts.
        yield io.TextIOWrapper(plain, encoding="utf-8-sig", errors="surrogateescape", newline="\n")


class _Counted(io.RawIOBase):
    """A binary file that reports the megabytes read from it."""

    def __init__(self, raw: BinaryIO, advance: Advance) -> None:
        self._raw, self._advance = raw, advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._raw.read(len(buffer))
        buffer[: len(piece)] = piece
        self._advance(len(piece) / 1e6)
        return len(piece)


def _lines(stream: TextIO) -> Iterator[tuple[int, str]]:
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        yield number, line
        while len(line) == LONGEST_LINE and not line.endswith("\n"):  # the rest of a line that is too long
            line = stream.readline(LONGEST_LINE)


def _json_values(stream: TextIO, in_one: bool) -> Iterator[Entry]:
    """Yield the values of JSON lines; of one JSON value, those of its list, or of the samples of its object.

    Args:
        in_one: whether the file's name says that it is one JSON value. Some programs give JSON lines such a name.
    """
    if not in_one:
        yield from _line_values(_lines(stream))
        return
    beginning = stream.read(PIECE)
    if beginning.lstrip().startswith("["):
        yield from _list_items(beginning.lstrip()[1:], stream)
        return
    beginning += stream.readline(LONGEST_LINE) + stream.readline(LONGEST_LINE)  # whole lines, at least two
    lines = beginning.split("\n")
    if _are_objects(lines):
        later = ((len(lines) - 1 + number, line) for number, line in _lines(stream))
        yield from _line_values(chain(enumerate(lines, 1), later))
        return
    text = beginning + stream.read(LARGEST_OBJECT)
    if len(text) > LARGEST_OBJECT:
        yield 1, UnreadableEntryError("is one JSON object of more than 500 MB; convert it to JSON lines, or to .eval")
        return
    value = _loaded(text)
    samples = value.get("samples") if isinstance(value, dict) else None
    yield from enumerate(samples, 1) if isinstance(samples, list) else [(1, value)]


def _line_values(lines: Iterable[tuple[int, str]]) -> Iterator[Entry]:
    return ((number, _loaded(line)) for number, line in lines if line.strip())


def _are_objects(lines: Iterable[str]) -> bool:
    """Return whether the first two lines that are not blank are a JSON object each."""
    first = list(islice((line for line in lines if line.strip()), 2))
    return len(first) == 2 and all(isinstance(_loaded(line), dict) for line in first)


def _list_items(text: str, stream: TextIO) -> Iterator[Entry]:
    """Yield the items of a JSON list, of which ``text`` is the beginning, without reading all of it."""
    decoder, number, at = json.JSONDecoder(), 0, 0
    while True:
        between = _BETWEEN.match(text, at)
        at = between.end() if between is not None else at
        if text.startswith("]", at):
            if text[at + 1 :].strip() or stream.read(PIECE).strip():  # e.g. two concatenated files
                yield number + 1, UnreadableEntryError("is after the end of the JSON list; write one entry per line")
            return
        try:
            value, end = decoder.raw_decode(text, at)
            is_whole = end < len(text)  # a number may continue
        except (ValueError, RecursionError):
            is_whole = False
        if is_whole:
            number += 1
            yield number, value
            at = end
            continue
        text, at = text[at:], 0  # only now: cutting it after each item would take quadratic time
        if (more := stream.read(max(PIECE, len(text)))) and len(text) < LARGEST_OBJECT:
            text += more
        else:
            yield number + 1, UnreadableEntryError("is not valid JSON, and neither is what follows")
            return


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return UnreadableEntryError(f"is not valid JSON ({first_line(error)})")


def _csv_rows(stream: TextIO) -> Iterator[Entry]:
    # Strict: else a quote that is not closed takes the rest of the file as its text.
    reader = csv.reader((line for _, line in _lines(stream)), strict=True)
    columns = _cells(reader) or []
    if isinstance(columns, UnreadableEntryError):
        raise csv.Error(f"its header {columns}")
    twice = first_repeat(columns)
    if twice is not None:
        raise csv.Error(f"two columns are called '{twice}'")
    while (cells := _cells(reader)) is not None:
        if isinstance(cells, UnreadableEntryError):
            yield reader.line_num, cells
        elif len(cells) == len(columns):
            yield reader.line_num, dict(zip(columns, cells, strict=True))
        elif cells:
            yield reader.line_num, UnreadableEntryError(f"has {len(cells)} cells, and the header has {len(columns)}")


def _cells(reader: Iterator[list[str]]) -> list[str] | UnreadableEntryError | None:
    """Return the cells of the next row, or None at the end; answers are longer than the limit of all of Python."""
    limit = csv.field_size_limit(LARGEST_CELL)
    try:
        return next(reader, None)
    except csv.Error as error:
        return UnreadableEntryError(f"is not valid CSV ({error})")
    finally:
        csv.field_size_limit(limit)


def _parquet_rows(path: Path, advance: Advance) -> Iterator[Entry]:
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number, share = 0, path.stat().st_size / 1e6 / max(1, file.metadata.num_rows)
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
                advance(batch.num_rows * share)
    except Exception as error:  # pyarrow's own, and those of values that Python has none for, such as the year 10000
        raise OSError(first_line(error)) from error


def _eval_samples(path: Path, advance: Advance) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.startswith("samples/")]
            for number, entry in enumerate(sorted(entries, key=lambda sample: sample.filename), 1):
                if entry.file_size > LARGEST_OBJECT:
                    yield number, UnreadableEntryError("is a sample of more than 500 MB")
                else:
                    yield number, _loaded(archive.read(entry).decode(errors="surrogateescape"))
                advance(entry.compress_size / 1e6)
    except Exception as error:  # of a damaged, encrypted or oddly compressed archive
        raise OSError(first_line(error)) from error
