"""Folders and files that appear whole or not at all: written beside, then renamed."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prosafeprune.errors import InputError

OURS = "prosafeprune.json"
"""The file that shows a folder to be an output of ours."""
_in_use: set[Path] = set()
"""Scratch folders of this process: a run may need one for a converted source while it writes another."""


def check_output(output: Path, source: Path, needed_bytes: int, overwrite: bool) -> None:
    """Check before the long work that ``output`` can be made: free name, writable parent, room on the disk.

    Only a folder that this package wrote is ever overwritten, and never the source.

    Raises:
        InputError: one of these is not so.
    """
    require_outside(output, source.resolve(), "source model's")
    _check_free(output, overwrite)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: its parent folder cannot be made ({error.strerror}).") from error
    if not os.access(output.parent, os.W_OK):
        raise InputError(f"{output}: its parent folder cannot be written to. Choose another --output.")
    free = shutil.disk_usage(output.parent).free
    if free < needed_bytes:
        raise InputError(
            f"{output}: needs {needed_bytes / 1e9:.1f} GB and {free / 1e9:.1f} GB are free. "
            "Make room or choose another disk."
        )


def require_outside(output: Path, folder: Path, whose: str) -> None:
    """Raise InputError when ``output`` is, holds or lies in a folder that is read."""
    if output == folder or output in folder.parents or folder in output.parents:
        raise InputError(f"{output}: is, holds or lies in the {whose} folder. Choose another --output.")


@contextmanager
def scratch_folder(beside: Path, purpose: str) -> Iterator[Path]:
    """Give a fresh hidden folder beside ``beside``, removed when the context ends.

    What an earlier run on this machine left there when it was killed is removed first.

    Raises:
        InputError: the folder cannot be made.
    """
    for folder in beside.parent.glob(f".{beside.name}.*-{socket.gethostname()}-*"):
        process = folder.name.rpartition("-")[2]
        if process.isdigit() and folder not in _in_use and not _is_another_running(int(process)):
            shutil.rmtree(folder, ignore_errors=True)
    folder = beside.parent / f".{beside.name}.{purpose}-{socket.gethostname()}-{os.getpid()}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{folder.parent}: cannot be written to ({error.strerror}).") from error
    _in_use.add(folder)
    try:
        yield folder
    finally:
        _in_use.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def staged_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """Give a fresh folder beside ``output``; when the context ends well, rename it to ``output``, else remove it.

    Raises:
        InputError: the disk is full or fails while the folder is written, or ``output`` has appeared meanwhile.
    """
    with scratch_folder(output, "partial") as staging:
        try:
            yield staging
            _check_free(output, overwrite)
            _replace(staging, output)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{output}: could not be written ({reason}). Nothing was left behind.") from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Put a file in its place, whole or not at all; text as UTF-8.

    Raises:
        InputError: it cannot be written.
    """
    partial = path.parent / f".{path.name}.partial"
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: could not be written ({error.strerror}).") from error


def _check_free(output: Path, overwrite: bool) -> None:
    if not output.exists():
        return
    if not overwrite:
        raise InputError(f"{output}: exists already. Choose another --output, or pass --overwrite.")
    if not (output / OURS).exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(
            f"{output}: was not written by prosafeprune, so it is not overwritten. Choose another --output."
        )


def _replace(staging: Path, output: Path) -> None:
    if not output.exists():
        staging.rename(output)
        return
    old = output.parent / f".{output.name}.old-{socket.gethostname()}-{os.getpid()}"
    output.rename(old)
    try:
        staging.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _is_another_running(process: int) -> bool:
    # After a container restarts, what we find under our own number is of an earlier life.
    return process != os.getpid() and _is_running(process)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
