"""How a failed command ends: one line on stderr and an exit code."""

import shlex
import tempfile
import traceback
from collections.abc import Collection, Sequence
from pathlib import Path

from prosafeprune.errors import ProSafePruneError, first_line, refused_by_system

INTERNAL_ERROR = 70
"""EX_SOFTWARE of sysexits.h."""


def report_failure(error: BaseException, arguments: Sequence[str]) -> int:
    """Print one line about an error and return the exit code.

    The traceback of an error that this package did not raise on purpose goes to a log file.
    """
    from prosafeprune.terminal import error_line

    refused = refused_by_system(error) if isinstance(error, OSError) else None
    known = error if isinstance(error, ProSafePruneError) else refused
    if known is not None:
        error_line(str(known))
        return known.exit_code
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
