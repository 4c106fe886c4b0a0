"""A file of JSON lines that grows as work is done, so that an interrupted run can resume."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError, first_line
from prosafeprune.files.text_file import MAX_TEXT_BYTES

Key = tuple[int, str]
"""A repeat and a prompt."""
Check = Callable[[dict[str, Any]], object]


class LineStore:
    """One row per repeat and prompt, in memory and, given a path, on disk as soon as it is known.

    Rows are JSON objects with at least ``prompt`` and ``repeat``. The incomplete last line of a killed run is ignored.
    Lone surrogates in texts, which UTF-8 cannot hold, are written as JSON escapes.

    Raises:
        InputError: the file cannot be read or written, or is not such a file.
    """

    def __init__(self, path: Path | None = None, check: Check | None = None) -> None:
        """Read the rows so far; ``check`` raises KeyError, TypeError or ValueError for a row that is none of ours."""
        self.path = path
        self._check = check
        self._torn: int | None = None
        """Where an incomplete last line begins, if there is one: it is cut off before a row is added."""
        self.rows: dict[Key, dict[str, Any]] = {}
        if path is not None and path.exists():
            self._read(path)

    def __contains__(self, key: Key) -> bool:
        return key in self.rows

    def __getitem__(self, key: Key) -> dict[str, Any]:
        return self.rows[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.rows)

    def add(self, repeat: int, prompt: str, **values: Any) -> None:
        """Add a row, written to disk before this returns."""
        row = {"prompt": prompt, "repeat": repeat, **values}
        if self.path is not None:
            try:
                if self._torn is not None:
                    os.truncate(self.path, self._torn)
                    self._torn = None
                with self.path.open("ab") as stream:
                    stream.write(_encode(row))
            except OSError as error:
                raise InputError(
                    f"{self.path}: could not be written ({error.strerror}). Finished work is kept: free some space and "
                    "run the same command again."
                ) from error
        self.rows[repeat, prompt] = row

    def _read(self, path: Path) -> None:
        try:
            if not path.is_file():
                raise InputError(f"{path}: is not a regular file. Remove it.")
            if path.stat().st_size > MAX_TEXT_BYTES:
                raise InputError(f"{path}: is larger than {MAX_TEXT_BYTES / 1e9:g} GB. Choose another folder.")
            content = path.read_bytes()
            complete = content[: content.rfind(b"\n") + 1]
            if len(complete) < len(content):  # killed, or out of disk space, while writing the last line
                self._torn = len(complete)
            for number, line in enumerate(complete.decode("utf-8").split("\n")[:-1], 1):
                self._read_row(path, number, line)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is damaged (not UTF-8 at byte {error.start}). Repair or remove it.") from error

    def _read_row(self, path: Path, number: int, line: str) -> None:
        try:
            row = json.loads(line)
            repeat, prompt = row["repeat"], row["prompt"]
            if self._check is not None:
                self._check(row)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else first_line(error)
            raise InputError(f"{path}, line {number}: is damaged ({reason}). Repair or remove the file.") from error
        if not isinstance(repeat, int) or not isinstance(prompt, str):
            raise InputError(f"{path}, line {number}: is not a row of prompt and repeat. Repair or remove the file.")
        self.rows[repeat, prompt] = row


def _encode(row: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(row) + "\n").encode()
