"""Rows of tables: CSV with commas, semicolons or tabs, and Parquet."""

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

from prosafeprune.errors import first_line
from prosafeprune.progress import Advance
from prosafeprune.prompts.rows import delimiter_of, long_cells
from prosafeprune.text import first_repeat
from prosafeprune.traffic.log_formats import UnreadableEntryError
from prosafeprune.traffic.log_text import lines_of
from prosafeprune.traffic.log_values import Entry


def csv_rows(stream: TextIO) -> Iterator[Entry]:
    """Yield the rows of a CSV file as objects, under the first of their lines.

    Raises csv.Error for a header that cannot be used.
    """
    lines = (line for _, line in lines_of(stream))
    header = next(lines, "")
    # Strict: else a quote that is not closed takes the rest of the file as its text.
    reader = csv.reader(chain([header], lines), delimiter=delimiter_of(header), strict=True)
    columns = _cells(reader) or []
    if isinstance(columns, UnreadableEntryError):
        raise csv.Error(f"its header {columns}")
    twice = first_repeat(columns)
    if twice is not None:
        raise csv.Error(f"two columns are called '{twice}'")
    number = reader.line_num + 1
    while (cells := _cells(reader)) is not None:
        if isinstance(cells, UnreadableEntryError):
            yield number, cells
        elif len(cells) == len(columns):
            yield number, dict(zip(columns, cells, strict=True))
        elif cells:
            yield number, UnreadableEntryError(f"has {len(cells)} cells, and the header has {len(columns)}")
        number = reader.line_num + 1


def _cells(reader: Iterator[list[str]]) -> list[str] | UnreadableEntryError | None:
    """Return the cells of the next row, or None at the end."""
    try:
        with long_cells():
            return next(reader, None)
    except csv.Error as error:
        return UnreadableEntryError(f"is not valid CSV ({error})")


def parquet_rows(path: Path, advance: Advance) -> Iterator[Entry]:
    """Yield the rows of a Parquet file as objects.

    Raises OSError.
    """
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
