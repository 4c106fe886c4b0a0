"""Kills at file events: what a process does to files inside a folder is counted, and ends it at a given number."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def count_into(file: Path, folders: tuple[Path, ...]) -> Callable[[], None]:
    """Return a setup that writes the number of events inside ``folders`` so far into a file."""

    def setup() -> None:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        _watch(folders, lambda number: os.pwrite(descriptor, str(number).encode(), 0))

    return setup


def kill_at(event: int, folders: tuple[Path, ...]) -> Callable[[], None]:
    """Return a setup that kills the process before the event of that number, from 1, inside ``folders``."""
    return lambda: _watch(folders, lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == event else None)


def kill_at_size(size: int) -> Callable[[], None]:
    """Return a setup that ends the process in the middle of a write: when a file grows beyond ``size`` bytes."""

    def setup() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return setup


def full_at(size: int) -> Callable[[], None]:
    """Return a setup in which no file can grow beyond ``size`` bytes, as on a full disk."""

    def setup() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return setup


def _watch(folders: tuple[Path, ...], called: Callable[[int], object]) -> None:
    inside, number = tuple(map(str, folders)), 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal number
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(path, str | bytes | os.PathLike) and isinstance(flags, int) and flags & WRITES
        elif event in CHANGES:
            path, changes = arguments[0], True
        else:
            return
        if changes:
            name = os.fsdecode(path) if not isinstance(path, int) else inside[0]
            if name.startswith(inside) or not name.startswith("/"):
                number += 1
                called(number)

    sys.addaudithook(hook)
