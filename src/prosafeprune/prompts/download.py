"""Files on the web, downloaded once."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from huggingface_hub import get_session

from prosafeprune.errors import InputError, first_line
from prosafeprune.files.cache import cache_folder
from prosafeprune.files.text_file import MAX_TEXT_BYTES

SECONDS = 30
"""For each part of a download."""
ALL_SECONDS = 600
"""For all of it: a server may send a byte now and then."""


def fetch(address: str) -> Path:
    """Return the local copy of a file on the web, downloading it when there is none yet.

    Raises:
        InputError: the download fails, is too large or takes too long, or the copy cannot be written.
    """
    name = address.rsplit("/", 1)[-1]
    path = cache_folder() / "prompts" / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{name}"
    if path.exists():
        return path
    try:
        content = _download(address)
    except Exception as error:
        raise InputError(
            f"{address}: could not be downloaded ({first_line(error)}). Check the address and the network."
        ) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: could not be written ({error.strerror}). Free some space, or set PROSAFEPRUNE_CACHE."
        ) from error
    return path


def _download(address: str) -> bytes:
    deadline, content = time.monotonic() + ALL_SECONDS, bytearray()
    with get_session().stream("GET", address, follow_redirects=True, timeout=SECONDS) as answer:
        answer.raise_for_status()
        for piece in answer.iter_bytes():
            content += piece
            if len(content) > MAX_TEXT_BYTES:
                raise ValueError(f"it is larger than {MAX_TEXT_BYTES / 1e9:g} GB")
            if time.monotonic() > deadline:
                raise TimeoutError(f"it takes longer than {ALL_SECONDS} seconds")
    return bytes(content)
