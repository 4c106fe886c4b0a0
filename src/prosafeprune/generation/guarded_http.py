"""HTTP to servers that are not trusted: a deadline and a size limit for each reply, and no redirect to another host.

The openai client retries transient failures (lost connections, time-outs, HTTP 408, 409, 429 and 5xx) and waits as long
as a ``Retry-After`` of up to two minutes says. To this client, a failed completion inside HTTP 200 is shown as a server
error, so that it is retried in the same way.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx2
import openai

from prosafeprune.generation.completion import FailedCompletion, read_completion
from prosafeprune.generation.credentials import excerpt
from prosafeprune.generation.endpoint_address import Address

Result = TypeVar("Result")
LARGEST_REPLY = 32 * 2**20
"""Maximum bytes of a reply, after decompression."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Hosts that are this machine: a proxy, which is another one, cannot connect to them."""
ENCODING_HEADERS = (b"content-encoding", b"content-length", b"transfer-encoding")
MAX_REDIRECTS = 3
MAX_TIMEOUTS = 3
"""Maximum time-outs of a request: each takes long and is likely to happen again, so there are fewer than other
retries."""
FAILED_COMPLETION = 598
"""Status under which a failed completion inside HTTP 200 is shown to the openai client; no server sends it."""
NO_CREDIT = "insufficient_quota"
"""Error code of a server that an account without credit asks; asking again does not help."""
RETRY_COUNT = "x-stainless-retry-count"
"""Header in which the openai client counts the retries of a request."""


class ReplyRefusedError(openai.OpenAIError):
    """A reply that is not accepted, and not asked for again: too large, or a redirect to another host."""


class GuardedClient(openai.DefaultHttpxClient):
    """The HTTP client under an openai client, for one server."""

    def __init__(self, address: Address) -> None:
        for name in ("httpx2", "httpcore2"):  # they log URLs with their queries, and headers
            logging.getLogger(name).setLevel(logging.WARNING)
        super().__init__(
            auth=address.login,
            follow_redirects=False,
            headers={"Accept-Encoding": "identity"},
            mounts={"all://" + host: None for host in LOOPBACK},
        )
        self.address = address

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request and return the reply, read to its end.

        Raises:
            ReplyRefusedError: the reply is too large, or redirects to another host.
            openai.APITimeoutError: it was not complete by the deadline, for the last time.
            httpx2.TimeoutException: the same, and the request may be sent again.
            httpx2.RequestError: the connection failed.
        """
        seconds = float(request.extensions["timeout"]["read"])
        request.url = request.url.copy_with(query=self.address.query.encode() or None)
        try:
            response = within(seconds, lambda: self._fetch(request, time.monotonic() + seconds))
        except (TimeoutError, httpx2.TimeoutException) as error:
            if int(request.headers.get(RETRY_COUNT, 0)) + 1 >= MAX_TIMEOUTS:
                raise openai.APITimeoutError(request) from error
            raise httpx2.ReadTimeout("no complete reply by the deadline", request=request) from error
        if response.is_success and request.url.path.endswith("/completions"):
            return _checked(response)
        if response.status_code == 429 and NO_CREDIT.encode() in response.content:
            response.headers["x-should-retry"] = "false"
        return response

    def _fetch(self, request: httpx2.Request, deadline: float) -> httpx2.Response:
        for _ in range(MAX_REDIRECTS + 1):
            response = super().send(request, stream=True, follow_redirects=False)
            try:
                following = response.next_request
                if following is None:
                    return _read(response, deadline)
            finally:
                response.close()
            if (following.url.scheme, following.url.netloc) != (request.url.scheme, request.url.netloc):
                target = following.url.copy_with(userinfo=b"", query=None, fragment=None)
                raise ReplyRefusedError(f"redirects to {excerpt(str(target))}, which is not followed. Give that URL.")
            request = following
        raise ReplyRefusedError("redirects without end. Check the URL.")


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """Return what ``work`` returns if it does so in time; httpx's own time-outs apply to each read alone.

    Work that is late is abandoned, in a thread that does not keep the program alive.

    Raises:
        TimeoutError: it did not.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised below, in the calling thread
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=seconds)


def _read(response: httpx2.Response, deadline: float) -> httpx2.Response:
    """Return the response with its body."""
    parts, size = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > LARGEST_REPLY:
            raise ReplyRefusedError(f"sent a reply of more than {LARGEST_REPLY >> 20} MiB. Check the server.")
        if time.monotonic() > deadline:
            raise TimeoutError
    # As bytes: a value may be in any encoding.
    kept = [(name, value) for name, value in response.headers.raw if name.lower() not in ENCODING_HEADERS]
    return httpx2.Response(response.status_code, headers=kept, content=b"".join(parts), request=response.request)


def _checked(response: httpx2.Response) -> httpx2.Response:
    try:
        read_completion(response.content)
    except FailedCompletion as failure:
        error = {"error": {"message": str(failure)}}
        return httpx2.Response(FAILED_COMPLETION, json=error, request=response.request)
    return response
