"""Versions of installed packages, and records of a later release, which may hold what this one does not know."""

import json
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError

PACKAGE = "prosafeprune"
NUMBERS = re.compile(r"\d+(?:\.\d+)*")
"""The release in a version, without a suffix such as ``.dev1``."""


@cache  # each look-up reads a file of the package
def installed_version(package: str) -> str | None:
    """Return the version of an installed package; None where it is run from its sources, or is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def require_not_newer(file: Path, text: str, known_format: int) -> None:
    """Raise InputError when the JSON record that could not be read was written by a later release than this one.

    A record has a ``format``, and that of a pruned model the versions of the libraries it was made with.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return
    written_as = record.get("format") if isinstance(record, dict) else None
    has_later_format = isinstance(written_as, int) and written_as > known_format
    ours = installed_version(PACKAGE)
    if has_later_format or (ours is not None and _release(_writer(record)) > _release(ours)):
        raise InputError(
            f"{file}: was written by a newer version of prosafeprune than this one ({ours or 'not installed'}). "
            "Upgrade: pip install --upgrade prosafeprune"
        )


def _writer(record: Any) -> Any:
    """Return the version that wrote a record; None where it does not say."""
    for name in ("run", "versions", PACKAGE):
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _release(written: Any) -> tuple[int, ...]:
    numbers = NUMBERS.match(written) if isinstance(written, str) else None
    return tuple(map(int, numbers[0].split("."))) if numbers is not None else ()
