"""Servers' addresses and the key they are shown, kept apart from whatever is printed, recorded or cached."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from prosafeprune.errors import InputError

KEY_VARIABLES = ("PROSAFEPRUNE_API_KEY", "OPENAI_API_KEY")
NO_KEY = "none"
"""What a server that wants no key is shown; the client insists on one."""
ROUTE = re.compile(r"/(?:chat/)?completions$")
LOOKS_LIKE_A_KEY = re.compile(r"\bsk-[\w*.-]+|\bBearer\s+\S+", re.I)
LONGEST_EXCERPT = 200


@dataclass(frozen=True)
class Address:
    """The base URL of a server, and how it is told to people: without a user's name, password or query."""

    url: str = field(repr=False)
    shown: str


def read_addresses(urls: str | Sequence[str]) -> list[Address]:
    """Return the addresses of one server, of several separated by commas, or of a list of them.

    Raises:
        InputError: none is given, or one is no http or https URL.
    """
    parts = urls.split(",") if isinstance(urls, str) else urls
    addresses = [_read_address(part.strip()) for part in parts if part.strip()]
    if not addresses:
        raise InputError("No server is named. Give its URL, such as http://localhost:8000/v1.")
    return addresses


def _read_address(text: str) -> Address:
    # What stands before an @ may be a password, so not even a broken URL is told with it.
    told = text.rpartition("@")[2]
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{told}: is no URL ({error}). Write http://host:port/v1.") from error
    if parts.scheme not in ("http", "https") or not host:
        raise InputError(f"{told}: is no http or https URL. Write http://host:port/v1.")
    path = ROUTE.sub("", parts.path.rstrip("/")) or "/v1"
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    return Address(
        url=urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")),
        shown=urlunsplit((parts.scheme, place, path, "", "")),
    )


def api_key() -> str:
    """Return the key for servers, which comes from an environment variable and nowhere else.

    Raises:
        InputError: it holds what no key can hold.
    """
    name = key_variable()
    key = os.environ[name].strip() if name else NO_KEY
    if not key.isascii() or not key.isprintable():
        raise InputError(f"{name}: holds characters that no key has. Copy the key again.")
    return key


def key_variable() -> str | None:
    """Return the name of the environment variable that the key is taken from."""
    return next((name for name in KEY_VARIABLES if os.environ.get(name, "").strip()), None)


def excerpt(text: str) -> str:
    """Return the beginning of what a server sent, on one line, without anything that may be a key."""
    key = api_key()
    text = text.replace(key, "[key]") if key != NO_KEY else text
    text = " ".join(LOOKS_LIKE_A_KEY.sub("[key]", text).split())
    return text if len(text) <= LONGEST_EXCERPT else text[:LONGEST_EXCERPT] + "..."
