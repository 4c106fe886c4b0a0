"""Users' text and JSON files: any defect is a one-line error, and pipes and devices are never opened."""

import json
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError, first_line

MAX_TEXT_BYTES = 1_000_000_000


def read_text_file(path: Path, kind: str = "file", max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the text of a UTF-8 file without its byte order mark; every line end becomes a newline.

    Args:
        path: the file.
        kind: what the file is, for messages, such as ``recipe file``.
        max_bytes: largest size read.

    Raises:
        InputError: no such file, not a regular file, too large, not UTF-8, or with null characters.
    """
    try:
        if not path.exists():
            raise InputError(f"{path}: no such {kind}. Check the path.")
        if not path.is_file():
            raise InputError(f"{path}: is not a regular file. Give a {kind}.")
        if path.stat().st_size > max_bytes:
            raise InputError(f"{path}: is larger than {max_bytes / 1e6:g} MB, too large for a {kind}.")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
        raise InputError(f"{path}: cannot be read as UTF-8 text ({reason}). Save it as UTF-8.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
        raise InputError(f"{path}: cannot be read ({reason}). Check its permissions.") from error
    if "\0" in text:
        raise InputError(f"{path}: has null characters, as UTF-16 text without its mark does. Save it as UTF-8.")
    return text


MAX_JSON_BYTES = 200_000_000


def read_json_object(path: Path, kind: str, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        InputError: as ``read_text_file``, or it is not JSON, nested too deep, has a number too long, or is no object.
    """
    text = read_text_file(path, kind, max_bytes)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else first_line(error)
        raise InputError(f"{path}: is not valid JSON ({reason}). Fetch the file again.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: does not hold a JSON object. Fetch the file again.")
    return found
