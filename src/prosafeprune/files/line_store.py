"""A file of JSON lines that grows as work is done, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError

Key = tuple[int, str]
"""A repeat and a prompt."""


class LineStore:
    """One row for each repeat of each prompt, kept in memory and, when there is a path, on disk as it comes.

    Rows are JSON objects with at least ``prompt`` and ``repeat``. A last line that a killed run left half-written is
    dropped.

    Raises:
        InputError: the file cannot be read or written, or holds other things.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
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
        """Keep a row, and write it out before going on."""
        row = {"prompt": prompt, "repeat": repeat, **values}
        if self.path is not None:
            try:
                with self.path.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            except OSError as error:
                raise InputError(
                    f"{self.path}: could not be written ({error.strerror}). What was done is kept: make room and run "
                    "the same command again."
                ) from error
        self.rows[repeat, prompt] = row

    def _read(self, path: Path) -> None:
        try:
            content = path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):  # killed, or out of room, while it wrote its last line
                os.truncate(path, len(whole))
            for line in whole.decode("utf-8").split("\n")[:-1]:
                row = json.loads(line)
                self.rows[row["repeat"], row["prompt"]] = row
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
        except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is damaged ({error}). Mend or remove it.") from error
