"""Paths as users write them."""

import os
from pathlib import Path

from prosafeprune.errors import InputError, first_line


def user_path(path: str | Path) -> Path:
    """Return a path with ``~`` as the home folder.

    Raises:
        InputError: it is no path, names the home of an unknown user, or has a character that no file name can have.
    """
    try:
        found = Path(path).expanduser()
        if "\0" in str(found):
            raise ValueError("a null character")
        os.fsencode(found)
    except RuntimeError as error:
        raise InputError(f"{path}: there is no such home folder. Write the path without ~.") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{str(path)[:80]!r}: is not a usable path ({first_line(error)}). Check it.") from error
    return found
