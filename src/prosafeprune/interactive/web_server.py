"""Runs a web application on loopback, or elsewhere behind a token."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import secrets
import socket
from collections.abc import Collection
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from prosafeprune.errors import InputError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

TOKEN_VARIABLE = "PROSAFEPRUNE_TOKEN"
SHORTEST_TOKEN = 16


def require_web_server() -> None:
    """Raise InputError when the libraries of the server are not installed."""
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise InputError("The web server is not installed. Run: pip install 'prosafeprune[playground]'")


def token_for(host: str) -> str | None:
    """Return the token that requests must bear, from the environment; None on loopback without one.

    Raises:
        InputError: another host than loopback without a token, or a token that is too short.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise InputError(f"{TOKEN_VARIABLE}: give at least {SHORTEST_TOKEN} printable ASCII characters.")
    if token is None and not is_loopback(host):
        raise InputError(
            f"--host {host}: others could use the model. Set {TOKEN_VARIABLE} to a secret of at least {SHORTEST_TOKEN} "
            "characters, which clients send as their API key."
        )
    return token


def page_token(host: str) -> str:
    """Return the token of a page: that of the environment, else a random one. Raises InputError as `token_for` does."""
    return token_for(host) or secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes any free one. Raises InputError when the address is unusable."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(found[0], socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
    except (OSError, UnicodeError) as error:  # the latter: a host name with an empty part, or one that is too long
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        raise InputError(f"{host}:{port}: cannot be bound to ({reason}). Choose another --host or --port.") from error
    return listening


def url_of(listening: socket.socket) -> str:
    """Return the URL of a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(app: ASGIApp, listening: socket.socket, token: str | None, public: Collection[str] = ()) -> None:
    """Serve an application behind a :class:`Guard`, until interrupted."""
    import uvicorn

    from prosafeprune.interactive.guard import LOOPBACK_NAMES, Guard
    from prosafeprune.interactive.slow_clients import TimedProtocol

    own = url_of(listening).removeprefix("http://").rpartition(":")[0]
    names = LOOPBACK_NAMES | {own} if is_loopback(listening.getsockname()[0]) else None
    config = uvicorn.Config(
        Guard(app, token, names, public),
        http=TimedProtocol,
        log_level="error",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_failure)  # after Config, which sets up these loggers
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def _is_failure(record: logging.LogRecord) -> bool:
    """Return whether a log record is of an exception, rather than of streams that were open when the server ended."""
    _, error, _ = record.exc_info or (None, None, None)
    return error is not None and not isinstance(error, asyncio.CancelledError)
