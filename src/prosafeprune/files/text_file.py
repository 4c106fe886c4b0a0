"""Text files of users: what is no readable file of text is one line, and nothing else is opened."""

from __future__ import annotations

from pathlib import Path

from prosafeprune.errors import InputError, first_line

MAX_TEXT_BYTES = 1_000_000_000


def read_text_file(path: Path, kind: str, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the text of a UTF-8 file, without its byte order mark.

    Args:
        path: the file. Pipes and devices, on which a read may never end, are refused.
        kind: what the file is, for messages: ``recipe``.
        max_bytes: largest size read.

    Raises:
        InputError: no such file, not a regular file, too large, or not UTF-8.
    """
    try:
        if not path.exists():
            raise InputError(f"{path}: no such {kind} file. Check the path.")
        if not path.is_file():
            raise InputError(f"{path}: is not a regular file. Give a {kind} file.")
        if path.stat().st_size > max_bytes:
            raise InputError(f"{path}: is larger than {max_bytes / 1e6:g} MB, too large for a {kind} file.")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise InputError(f"{path}: cannot be read ({reason}).") from error
