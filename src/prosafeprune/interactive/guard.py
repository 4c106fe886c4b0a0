"""What every request passes before anything reads it: who may ask, from where, and how much.

A server on loopback can be reached by any page in the user's browser. So the Host header must be this machine's own
name (a rebound DNS name is not), an Origin must be the server's own, and a POST must be JSON, which no form can send.
With a token, every request but those for the page itself must bear it.
"""

import asyncio
import hmac
import json
from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prosafeprune.interactive import slow_clients
from prosafeprune.interactive.http_errors import HttpError
from prosafeprune.text import SURROGATE

MOST_BODY_BYTES = 2**20
LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "[::1]"))
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Answers requests that may not pass, and gives every reply headers that keep foreign code out of the page."""

    def __init__(
        self, app: ASGIApp, token: str | None, names: Collection[str] | None, public: Collection[str] = ()
    ) -> None:
        """Guard an application.

        Args:
            app: what is guarded.
            token: what requests must bear; None asks for none.
            names: host names that requests may be for; None allows any.
            public: paths that need no token.
        """
        self.app, self.token, self.names, self.public = app, token, names, public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        problem = self._problem(scope["path"], scope["method"], Headers(scope=scope))
        app: ASGIApp = self.app if problem is None else problem.response()
        await app(scope, receive, send_with_headers)

    def _problem(self, path: str, method: str, headers: Headers) -> HttpError | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.names is not None and _without_port(host) not in self.names:
            return HttpError(HTTPStatus.FORBIDDEN, "This server answers to its own name only, such as localhost.")
        if origin is not None and origin.partition("://")[2] != host:
            return HttpError(HTTPStatus.FORBIDDEN, "Requests from other sites are refused.")
        given = headers.get("authorization", "").removeprefix("Bearer ").strip()
        is_open = self.token is None or path in self.public
        if not is_open and not hmac.compare_digest(given.encode(), (self.token or "").encode()):
            return HttpError(HTTPStatus.UNAUTHORIZED, "The token is missing or wrong.", code="invalid_api_key")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method == "POST" and kind != "application/json":
            return HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON, with Content-Type: application/json.")
        return None


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Raises:
        HttpError: the body is too long, takes too long, or holds no JSON object.
    """
    try:
        async with asyncio.timeout(slow_clients.MOST_SECONDS):
            body = await _body(request)
    except TimeoutError as error:
        raise HttpError(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time. Send it again.") from error
    try:
        content = json.loads(body)
        has_half_characters = SURROGATE.search(json.dumps(content, ensure_ascii=False)) is not None
    except (ValueError, RecursionError) as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, "The body is not JSON in UTF-8. Correct it.") from error
    if has_half_characters:  # which no tokenizer takes
        raise HttpError(HTTPStatus.BAD_REQUEST, "The body has a lone surrogate (invalid Unicode). Correct it.")
    if not isinstance(content, dict):
        raise HttpError(HTTPStatus.BAD_REQUEST, "The body is not a JSON object. Correct it.")
    return content


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise HttpError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is longer than {MOST_BODY_BYTES} bytes. Send less."
            )
    return bytes(body)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
