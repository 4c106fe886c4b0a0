"""The text of a log file, plain or compressed, line by line."""

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from prosafeprune.progress import Advance

COMPRESSED = (".gz", ".zst")
LONGEST_LINE = 50_000_000
"""Maximum characters of a line; a longer one is skipped."""


def ending(path: Path) -> str:
    """Return the ending of a file's name that says what is in it, without ``.gz`` or ``.zst``."""
    name = path.name.lower()
    for compressed in COMPRESSED:
        name = name.removesuffix(compressed)
    return Path(name).suffix


@contextmanager
def open_text(path: Path, advance: Advance) -> Iterator[TextIO]:
    """Open a text file, compressed or not; bytes that are no UTF-8 become lone surrogates."""
    with path.open("rb") as raw:
        counted = cast(BinaryIO, _Counted(raw, advance))
        plain = _decompressed(counted, path.suffix.lower())
        # Split at newlines only: other line ends are inside texts.
        yield io.TextIOWrapper(plain, encoding="utf-8-sig", errors="surrogateescape", newline="\n")


def _decompressed(stream: BinaryIO, compression: str) -> BinaryIO:
    if compression == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    return zstd_stream(stream) if compression == ".zst" else stream


def zstd_stream(compressed: BinaryIO) -> BinaryIO:
    """Return what is in a stream that Zstandard compressed; by pyarrow, as Python itself can only from 3.14."""
    import pyarrow

    return cast(BinaryIO, pyarrow.CompressedInputStream(compressed, "zstd"))


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


def lines_of(stream: TextIO) -> Iterator[tuple[int, str]]:
    """Yield each line with its number; of one that is too long, its beginning."""
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        yield number, line
        while len(line) == LONGEST_LINE and not line.endswith("\n"):  # the rest of a line that is too long
            line = stream.readline(LONGEST_LINE)
