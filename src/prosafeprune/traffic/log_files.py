"""Log files: which are read, and the turns in them."""

import csv
import zlib
from collections.abc import Iterator
from pathlib import Path

from prosafeprune.errors import InputError, first_line
from prosafeprune.progress import Advance, ignore
from prosafeprune.prompts.sources import MOST_CHARACTERS
from prosafeprune.text import SURROGATE
from prosafeprune.traffic.log_formats import Answered, UnreadableEntryError, turns_of_entry
from prosafeprune.traffic.log_tables import csv_rows, parquet_rows
from prosafeprune.traffic.log_text import ending, lines_of, open_text
from prosafeprune.traffic.log_values import Entry, eval_samples, json_values
from prosafeprune.traffic.server_log import turns_of_server_log
from prosafeprune.traffic.turns import LoggedTurn

TABLES = (".csv", ".tsv")
ENDINGS = (".jsonl", ".ndjson", ".json", *TABLES, ".parquet", ".eval", ".log", ".txt")


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
                raise InputError(f"{path}: has no log. Logs end in {', '.join(ENDINGS)}, or these with .gz or .zst.")
            found += inside
        elif not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path}: is not a regular file. Give a log file.")
        elif ending(path) not in ENDINGS:
            raise InputError(
                f"{path}: logs end in {', '.join(ENDINGS)}, or these with .gz or .zst. Rename or convert it."
            )
        else:
            found.append(path)
    return list(dict.fromkeys(found))


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
        with open_text(path, advance) as stream:
            yield from turns_of_server_log(lines_of(stream))
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
        yield from parquet_rows(path, advance)
    elif kind == ".eval":
        yield from eval_samples(path, advance)
    else:
        with open_text(path, advance) as stream:
            yield from csv_rows(stream) if kind in TABLES else json_values(stream, kind == ".json")
