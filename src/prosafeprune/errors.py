"""Errors that a person can act on: one line that says what was wrong, where, and what to do."""

from __future__ import annotations

import errno

REFUSED_BY_SYSTEM = {
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
}
"""Errors of the operating system that say what is wrong with a path or a disk."""


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error message; the error's name if it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def refused_by_system(error: OSError) -> InputError | None:
    """Return the error to raise for what the operating system says of a path or a disk; None for any other."""
    if error.errno not in REFUSED_BY_SYSTEM:
        return None
    where = f"{error.filename}: " if isinstance(error.filename, str) else ""
    return InputError(
        f"{where}cannot be used ({error.strerror}). Check the path, its permissions and the space on the disk."
    )


class ProSafePruneError(Exception):
    """Base of every error this package raises deliberately. ``exit_code`` is the command line's exit code."""

    exit_code = 1


class InputError(ProSafePruneError):
    """Something the user gave cannot be used: a path, a prompt file, a model, an option."""

    exit_code = 2


class NotApplicableError(InputError):
    """A method cannot be applied to this model; other methods may."""


class NoPlanError(ProSafePruneError):
    """A search found no plan that complies more than the base model and keeps the safety floor."""

    exit_code = 3
