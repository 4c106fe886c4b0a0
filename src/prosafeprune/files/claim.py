"""One run at a time per output: a lock file next to it, removed when the run ends."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prosafeprune.errors import InputError


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Keep other runs from writing ``path`` inside the context.

    Its parent folders are made if need be, and removed again if nothing was written into them.

    A killed run leaves its lock file, but not the lock.

    Raises:
        InputError: another run is writing there, or the parent folder cannot be written to.
    """
    lock = path.parent / f".{path.name}.lock"
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _lock(lock)
        except BlockingIOError as error:
            raise InputError(f"{path}: another run is writing there. Wait for it, or choose another folder.") from error
        except OSError as error:
            raise InputError(f"{path}: cannot be written to ({error.strerror}). Choose another folder.") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # still locked: see _lock
            os.close(descriptor)
    finally:
        _remove_empty(missing)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of the folders, innermost first, that are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _lock(lock: Path) -> int:
    """Return the descriptor of the locked file. Raises BlockingIOError when another run has locked it."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        except FileNotFoundError:
            pass  # opened before the run that held it removed it, and locked after: of no use to anyone
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
