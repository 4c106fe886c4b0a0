"""JSON values of a log, one after the other: lines, the items of a list, the samples of a log of inspect_ai."""

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from prosafeprune.errors import first_line
from prosafeprune.progress import Advance
from prosafeprune.traffic.log_formats import UnreadableEntryError
from prosafeprune.traffic.log_text import LONGEST_LINE, lines_of, zstd_stream

LARGEST_OBJECT = 500_000_000
"""Maximum characters of one JSON value that is not in lines."""
TOO_LARGE = (
    "is one JSON object of more than 500 MB; convert it to JSON lines, or inspect_ai's log with "
    "'inspect log convert LOG --to eval --output-dir DIR'"
)
PIECE = 1 << 20
_BETWEEN = re.compile(r"[ \t\r\n,]*")
"""What separates the items of a JSON list."""
ZSTANDARD = 93
"""The method of compression in a zip archive that Python's zipfile reads from 3.14 only."""
Entry = tuple[int, Any]
"""An entry's number, from 1, and its value: an object, or an UnreadableEntryError."""


def json_values(stream: TextIO, in_one: bool) -> Iterator[Entry]:
    """Yield the values of JSON lines; of one JSON value, those of its list, or of the samples of its object.

    Args:
        in_one: whether the file's name says that it is one JSON value. Some programs give JSON lines such a name.
    """
    if not in_one:
        yield from _line_values(lines_of(stream))
        return
    beginning = stream.read(PIECE)
    if beginning.lstrip().startswith("["):
        yield from _list_items(beginning.lstrip()[1:], stream)
        return
    beginning += stream.readline(LONGEST_LINE) + stream.readline(LONGEST_LINE)  # whole lines, at least two
    lines = beginning.split("\n")
    if _are_objects(lines):
        later = ((len(lines) - 1 + number, line) for number, line in lines_of(stream))
        yield from _line_values(chain(enumerate(lines, 1), later))
        return
    text = beginning + stream.read(LARGEST_OBJECT)
    if len(text) > LARGEST_OBJECT:
        yield 1, UnreadableEntryError(TOO_LARGE)
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


def eval_samples(path: Path, advance: Advance) -> Iterator[Entry]:
    """Yield the samples of a log of inspect_ai in its own format, a zip archive.

    Raises OSError.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.startswith("samples/")]
            for number, entry in enumerate(sorted(entries, key=lambda sample: sample.filename), 1):
                if entry.file_size > LARGEST_OBJECT:
                    yield number, UnreadableEntryError("is a sample of more than 500 MB")
                else:
                    is_zstd = entry.compress_type == ZSTANDARD
                    content = _zstd_member(file, entry) if is_zstd else archive.read(entry)
                    yield number, _loaded(content.decode(errors="surrogateescape"))
                advance(entry.compress_size / 1e6)
    except Exception as error:  # of a damaged, encrypted or oddly compressed archive
        raise OSError(first_line(error)) from error


def _zstd_member(file: BinaryIO, entry: zipfile.ZipInfo) -> bytes:
    """Return a member that Zstandard compressed. Its data follow a header of 30 bytes, its name and an extra field."""
    if entry.flag_bits & 1:
        raise OSError(f"{entry.filename} is encrypted")
    file.seek(entry.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", file.read(4))
    file.seek(name_length + extra_length, io.SEEK_CUR)
    content = zstd_stream(io.BytesIO(file.read(entry.compress_size))).read(entry.file_size + 1)
    if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
        raise OSError(f"{entry.filename} is damaged")
    return content
