"""JSON files of users and of foreign models: any defect is a one-line error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError, first_line
from prosafeprune.files.text_file import read_text_file

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
