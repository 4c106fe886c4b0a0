"""A server on the loopback that speaks the OpenAI format, with faults that a test can switch on."""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RETRIES = 2
"""Fewer than by default."""
KEY = "sk-secret-5f3a9c"
Sent = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""
Stream = Iterable[bytes]
"""A whole reply, head and all, written part by part."""


def sent(body: Any, status: int = 200, **headers: str) -> Sent:
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "application/json" if not isinstance(body, str) else "text/html"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"Content-Type": kind, **named}, text.encode()


def said(text: str | None, finish: str = "stop", **message: Any) -> Sent:
    return sent({"choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}]})


def written(text: str, finish: str = "stop") -> Sent:
    return sent({"choices": [{"text": text, "finish_reason": finish}]})


def rejected(message: str, status: int, code: str | None = None, **headers: str) -> Sent:
    return sent({"error": {"message": message, "code": code, "param": None, "type": "x"}}, status, **headers)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has gone."""
        if not isinstance(sys.exception(), ConnectionError):
            traceback.print_exc()


class ModelServer:
    """Keeps what it was asked in ``requests``; ``faults`` holds what it does next."""

    def __init__(self) -> None:
        self.models: list[str] | None = ["tiny"]
        self.key: str | None = None
        self.answer: Callable[[dict[str, Any]], Sent | str | Stream] = self.echo
        self.faults: deque[Sent | str | Stream] = deque()
        """Each is sent in place of one answer; the word "cut" ends the connection without one."""
        self.seconds = 0.0
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.queries: list[str] = []
        self.most_at_a_time = 0
        self._at_a_time = 0
        self._lock = threading.Lock()
        self._server = _QuietServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def echo(self, body: dict[str, Any]) -> Sent:
        return written(f"after {body['prompt']}") if "prompt" in body else said(f"answer to {prompt_of(body)}")

    def asked(self) -> list[dict[str, Any]]:
        """Return the bodies of all requests for completions."""
        return [body for path, body, _ in self.requests if path.endswith("completions")]

    def die(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Sent | str | Stream:
        path, _, query = path.partition("?")
        with self._lock:
            self.requests.append((path, body, headers))
            self.queries.append(query)
            fault = self.faults.popleft() if self.faults and path.endswith("completions") else None
        if fault is not None:
            return fault
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            return rejected(f"Incorrect API key provided: {headers.get('Authorization')}", 401)
        if path == "/v1/models":
            if self.models is None:
                return rejected("no such route", 404)
            return sent({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})
        if path not in ("/v1/chat/completions", "/v1/completions"):
            return sent("<html>not here</html>", 404)
        if self.models is not None and body.get("model") not in self.models:
            return rejected(f"The model `{body.get('model')}` does not exist.", 404)
        with self._lock:
            self._at_a_time += 1
            self.most_at_a_time = max(self.most_at_a_time, self._at_a_time)
        time.sleep(self.seconds)
        with self._lock:
            self._at_a_time -= 1
        return self.answer(body)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        model_server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer_with({})

            def do_POST(self) -> None:
                self.answer_with(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def answer_with(self, body: dict[str, Any]) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = model_server.reply(self.path, body, headers)
                if isinstance(reply, str):
                    self.close_connection = True
                    return
                if not isinstance(reply, tuple):
                    self.close_connection = True
                    with suppress(OSError):  # the client had enough
                        for part in reply:
                            self.wfile.write(part)
                    return
                status, headers, content = reply
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def prompt_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


@contextmanager
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    try:
        yield server
    finally:
        server.die()
