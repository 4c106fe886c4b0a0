"""Folders that are gone on with: what was done is kept as it comes, and only by one run at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from prosafeprune.errors import InputError
from prosafeprune.files.staging import write_whole

MADE_BY = "made_by.json"
"""What the contents depend on; it also shows the folder to be ours."""


class ResumableFolder:
    """A folder whose contents all depend on the same things, told in ``made_by.json``.

    Raises:
        InputError: what is there depends on something else, or cannot be read or written.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        self.path = path
        self.made_by = json.loads(json.dumps(dict(made_by)))  # as it will be read back
        before = self.read(MADE_BY)
        if before is None:
            self.write(MADE_BY, self.made_by)
            return
        other = [name for name, value in self.made_by.items() if before.get(name) != value]
        if other:
            was = ", ".join(f"{name} {before.get(name)!r}, now {self.made_by[name]!r}" for name in other)
            raise InputError(f"{path}: was made otherwise ({was}). Choose another folder, or pass --overwrite.")

    def read(self, name: str) -> Any:
        """Return what a JSON file holds, or None when there is none."""
        file = self.path / name
        if not file.exists():
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: cannot be read ({error}). Choose another folder.") from error

    def write(self, name: str, value: Any) -> None:
        """Put a JSON file in its place, whole or not at all."""
        self.write_file(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_file(self, name: str, content: str | bytes) -> None:
        """Put a file in its place, whole or not at all."""
        write_whole(self.path / name, content)


@contextmanager
def locked_folder(path: Path, overwrite: bool) -> Iterator[None]:
    """Make the folder if need be, and keep other runs out of it for as long as the context.

    Raises:
        InputError: it cannot be made, holds other things, or another run is writing there.
    """
    if path.exists() and not (path / MADE_BY).exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: exists and was not written by prosafeprune. Choose another folder.")
    lock = FileLock(path.parent / f".{path.name}.lock", timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        if overwrite and path.exists():
            shutil.rmtree(path)
        path.mkdir(exist_ok=True)
    except Timeout as error:
        raise InputError(f"{path}: another run is writing there. Wait for it, or choose another folder.") from error
    except OSError as error:
        lock.release()
        raise InputError(f"{path}: cannot be written to ({error.strerror}). Choose another folder.") from error
    try:
        yield
    finally:
        # The file stays: were it removed, a run that waits on it and one that makes it anew could both go on.
        lock.release()
