"""Folders that appear whole or not at all: written beside, then renamed."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prosafeprune.errors import InputError


def check_output(output: Path, needed_bytes: int, overwrite: bool) -> None:
    """Check before the long work that ``output`` can be made: free name, writable parent, room on the disk.

    Raises:
        InputError: one of these is not so.
    """
    if output.exists() and not overwrite:
        raise InputError(f"{output}: exists already. Choose another --output, or pass --overwrite.")
    if output.exists() and not (output.is_dir() and (not any(output.iterdir()) or (output / "config.json").exists())):
        raise InputError(f"{output}: is not a model folder, so it is not overwritten. Choose another --output.")
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


@contextmanager
def scratch_folder(beside: Path, purpose: str) -> Iterator[Path]:
    """Give a fresh hidden folder beside ``beside``, removed when the context ends.

    What an earlier run on this machine left there when it was killed is removed first.

    Raises:
        InputError: the folder cannot be made.
    """
    for folder in beside.parent.glob(f".{beside.name}.*-{socket.gethostname()}-*"):
        process = folder.name.rpartition("-")[2]
        if process.isdigit() and not _is_running(int(process)):
            shutil.rmtree(folder, ignore_errors=True)
    folder = beside.parent / f".{beside.name}.{purpose}-{socket.gethostname()}-{os.getpid()}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{folder.parent}: cannot be written to ({error.strerror}).") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def staged_folder(output: Path) -> Iterator[Path]:
    """Give a fresh folder beside ``output``; when the context ends well, rename it to ``output``, else remove it.

    Raises:
        InputError: the disk is full or fails while the folder is written.
    """
    with scratch_folder(output, "partial") as staging:
        try:
            yield staging
            _replace(staging, output)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{output}: could not be written ({reason}). Nothing was left behind.") from error


def _replace(staging: Path, output: Path) -> None:
    if not output.exists():
        staging.rename(output)
        return
    old = staging.with_name(staging.name + "-old")
    output.rename(old)
    staging.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
