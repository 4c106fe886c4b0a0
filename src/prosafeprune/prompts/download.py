"""Files on the web, downloaded once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from huggingface_hub import get_session

from prosafeprune.errors import InputError, first_line
from prosafeprune.files.cache import cache_folder

SECONDS = 30


def fetch(address: str) -> Path:
    """Return the local copy of a file on the web, downloading it when there is none yet.

    Raises:
        InputError: the download fails, or the copy cannot be written.
    """
    name = address.rsplit("/", 1)[-1]
    path = cache_folder() / "prompts" / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{name}"
    if path.exists():
        return path
    try:
        answer = get_session().get(address, follow_redirects=True, timeout=SECONDS)
        answer.raise_for_status()
    except Exception as error:
        raise InputError(f"{address}: could not be downloaded ({first_line(error)}).") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_bytes(answer.content)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: could not be written ({error.strerror}).") from error
    return path
