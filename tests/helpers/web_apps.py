"""A web application that runs in a thread, behind its guard, on a free port."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from prosafeprune.interactive.guard import LOOPBACK_NAMES, Guard
from prosafeprune.interactive.slow_clients import TimedProtocol
from prosafeprune.interactive.web_server import listen, url_of

TOKEN = "a-token-of-the-tests"


@contextmanager
def running(app: Any, token: str | None = None, public: Collection[str] = ()) -> Iterator[str]:
    """Give the URL of an application."""
    with listen("127.0.0.1", 0) as listening:
        config = uvicorn.Config(
            Guard(app, token, LOOPBACK_NAMES, public),
            http=TimedProtocol,
            log_level="error",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < until
            time.sleep(0.01)
        try:
            yield url_of(listening)
        finally:
            server.should_exit = True
            thread.join(10)
