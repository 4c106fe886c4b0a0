"""How a failed command ends: one line on stderr and an exit code."""

import errno
import shlex
import tempfile
import traceback
from collections.abc import Collection, Sequence
from pathlib import Path

from prosafeprune.errors import InputError, ProSafePruneError, first_line

REFUSED_BY_SYSTEM = {
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
}
"""Errors of the operating system that say what is wrong with a path or a disk."""
INTERNAL_ERROR = 70
"""EX_SOFTWARE of sysexits.h."""


def report_failure(error: BaseException, arguments: Sequence[str]) -> int:
    """Print one line about an error and return the exit code.

    The traceback of an error that this package did not raise on purpose goes to a log file.
    """
    from prosafeprune.terminal import error_line

    if isinstance(error, ProSafePruneError):
        error_line(str(error))
        return error.exit_code
    if isinstance(error, OSError) and error.errno in REFUSED_BY_SYSTEM:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        error_line(
            f"{where}cannot be used ({error.strerror}). Check the path, its permissions and the space on the disk."
        )
        return InputError.exit_code
    log = _write_log(error, arguments)
    where = f"The traceback is in {log}" if log is not None else "No log file could be written"
    error_line(
        f"Unexpected {type(error).__name__}: {first_line(error)}. This is a bug in prosafeprune: please report it. "
        f"{where}; --debug prints it."
    )
    return INTERNAL_ERROR


def shown_command(arguments: Sequence[str]) -> str:
    """Return the command line with the arguments of endpoint options left out: their URLs may hold passwords."""
    shown: list[str] = []
    hide_next = False
    for argument in arguments:
        option, equals, _ = argument.partition("=")
        is_endpoint = option.startswith("--") and option.endswith("endpoint")
        shown.append("..." if hide_next else f"{option}=..." if is_endpoint and equals else argument)
        hide_next = is_endpoint and not equals
    return f"prosafeprune {shlex.join(shown)}"


def arguments_without(arguments: Sequence[str], flags: Collection[str], valued: Collection[str]) -> list[str]:
    """Return a command's arguments without some flags, and without some options and their values."""
    kept: list[str] = []
    given = iter(arguments)
    for argument in given:
        name, equals, _ = argument.partition("=")
        if name in valued:
            if not equals:
                next(given, None)
        elif argument not in flags:
            kept.append(argument)
    return kept


def _write_log(error: BaseException, arguments: Sequence[str]) -> Path | None:
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="prosafeprune-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as stream:
            stream.write(f"{shown_command(arguments)}\n\n{text}")
    except OSError:
        return None
    return Path(stream.name)
