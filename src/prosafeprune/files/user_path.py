"""Paths as users write them."""

from pathlib import Path

from prosafeprune.errors import InputError


def user_path(path: str | Path) -> Path:
    """Return a path with ``~`` as the home folder. Raises InputError when it names the home of an unknown user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: there is no such home folder. Write the path without ~.") from error
