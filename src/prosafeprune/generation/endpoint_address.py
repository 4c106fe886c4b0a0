"""URLs of servers: what is connected to, and what may be shown of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

import httpx2

from prosafeprune.errors import InputError
from prosafeprune.generation.credentials import (
    LOOKS_LIKE_A_KEY,
    SHORTEST_SECRET_IN_ANSWER,
    hide_secrets,
    remember_secret,
)

BETWEEN_URLS = re.compile(r",(?=\s*(?:https?://|$))", re.I)
"""Separator of URLs: a comma before another URL only, since a password may contain one."""
ROUTE = re.compile(r"/(?:chat/)?completions$")
HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+(?:%[\w.-]+)?", re.I)
LONGEST_LABEL = 63
"""Maximum characters of a part of a host name (RFC 1035)."""
SHORTEST_QUERY_SECRET = 8
"""Minimum length of a query's value that may be a key; a version is shorter."""


@dataclass(frozen=True)
class Address:
    """Where a server is. Only ``shown`` may be printed or recorded."""

    url: str = field(repr=False)
    """Base URL, without credentials and query."""
    shown: str
    """The base URL for messages, without anything in its path that looks like a key."""
    query: str = field(default="", repr=False)
    """Query sent with every request, exactly as written."""
    login: tuple[str, str] | None = field(default=None, repr=False)
    """User name and password."""


def read_addresses(urls: str | Sequence[str]) -> list[Address]:
    """Return the addresses of one server, of several separated by commas, or of a list of them.

    Raises:
        InputError: there is none, or one is not an http or https URL. As it may hold a password, it is not repeated.
    """
    parts = [part.strip() for part in (BETWEEN_URLS.split(urls) if isinstance(urls, str) else urls)]
    parts = [part for part in parts if part.strip(",")]
    if not parts:
        raise InputError("No server is named. Give its URL, such as http://localhost:8000/v1.")
    addresses = [_read_address(part) for part in parts]
    for number, address in enumerate(addresses, 1):
        if address is None:
            which = f"Server URL {number} of {len(parts)}" if len(parts) > 1 else "The server URL"
            raise InputError(
                f"{which} is not a valid http or https URL. Write http://host:port/v1, with special characters in a "
                "password percent-encoded, such as %23 for #."
            )
    return [address for address in addresses if address is not None]


def shown_urls(urls: str) -> str:
    """Return URLs separated by commas as they may be printed and recorded. Raises InputError as the reading does."""
    return ",".join(address.shown for address in read_addresses(urls))


def _read_address(text: str) -> Address | None:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    # A later @ or # means that a password was not encoded, and that this host and path are parts of it.
    if parts.scheme not in ("http", "https") or not host or not HOST.fullmatch(host) or "@" in parts.path + parts.query:
        return None
    if parts.fragment or "#" in text:
        return None
    if ":" not in host and not all(0 < len(part) <= LONGEST_LABEL for part in host.removesuffix(".").split(".")):
        return None
    path = ROUTE.sub("", parts.path.rstrip("/")) or "/v1"
    netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    url = urlunsplit((parts.scheme, netloc, path, "", ""))
    try:
        httpx2.URL(url)
    except httpx2.InvalidURL:  # such as an IP address with a number above 255
        return None
    shown = LOOKS_LIKE_A_KEY.sub("[key]", hide_secrets(url, SHORTEST_SECRET_IN_ANSWER))
    return Address(url, shown, parts.query, _login(parts))


def _login(parts: SplitResult) -> tuple[str, str] | None:
    for _, value in parse_qsl(parts.query):
        if len(value) >= SHORTEST_QUERY_SECRET:
            remember_secret(value)
    if parts.username is None and parts.password is None:
        return None
    remember_secret(parts.password or parts.username or "")
    remember_secret(f"{parts.username or ''}:{parts.password or ''}")  # as basic authentication encodes it
    return unquote(parts.username or ""), unquote(parts.password or "")
