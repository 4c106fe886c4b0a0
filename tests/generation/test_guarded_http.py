"""Servers that are not to be trusted: replies without end, redirects, and what the log says of a request."""

from __future__ import annotations

import gzip
import json
import logging
import resource
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.endpoint_requests import GREEDY, generator, one_answer
from helpers.model_server import ModelServer, model_server, said, sent

from prosafeprune.errors import InputError
from prosafeprune.generation import guarded_http
from prosafeprune.generation.backend import Answer

pytestmark = pytest.mark.usefixtures("no_key")
HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n"


def endless() -> Iterator[bytes]:
    yield HEAD + b"\r\n"
    while True:
        yield b" " * 65536


def dripping(head: bool) -> Iterator[bytes]:
    yield HEAD + b"X-Slow: " if head else HEAD + b"\r\n"
    while True:
        time.sleep(0.02)
        yield b"1"


def bomb() -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, gzip.compress(b" " * 2**27, 1)


def test_replies_of_gigabytes_and_compressed_bombs_are_refused_once(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_http, "LARGEST_REPLY", 2**20)
    faults: list[Any] = [endless(), bomb()]
    server.faults += faults
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        with pytest.raises(InputError, match=r"sent a reply of more than 1 MiB"):
            one_answer(server)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KiB
    assert len(server.asked()) == 2


def test_a_compressed_reply_is_read(server: ModelServer) -> None:
    status, headers, content = said("Hi")
    server.faults.append((status, {**headers, "Content-Encoding": "gzip"}, gzip.compress(content)))
    assert one_answer(server) == Answer("Hi", True)
    assert server.requests[-1][2]["accept-encoding"] == "identity"


def test_a_header_in_any_encoding_is_no_fault_of_the_prompt(server: ModelServer) -> None:
    status, headers, content = said("Hi")
    server.faults.append((status, {**headers, "X-Served-By": "\xe9\xff"}, content))
    assert one_answer(server) == Answer("Hi", True)


@pytest.mark.parametrize("head", [True, False])
def test_a_server_that_drips_meets_one_deadline(server: ModelServer, head: bool) -> None:
    server.faults += [dripping(head) for _ in range(3)]
    began = time.monotonic()
    with pytest.raises(InputError, match=r"did not complete a reply within 0.2 s"):
        one_answer(server, timeout=0.2, retries=10)
    assert time.monotonic() - began < 30
    assert len(server.asked()) == 3


def test_a_redirect_to_another_host_is_refused_and_one_within_the_host_followed(server: ModelServer) -> None:
    with model_server() as other:
        target = other.url.replace("http://", "http://user:secret@") + "/chat/completions?token=secret"
        server.faults.append(sent("", 307, Location=target))
        with pytest.raises(InputError, match=rf"redirects to {other.url}/chat/completions, which is not") as raised:
            one_answer(server)
        assert "secret" not in str(raised.value)
        assert other.requests == []
    server.faults.append(sent("", 307, Location="/v1/chat/completions"))
    assert one_answer(server) == Answer("answer to Hello", True)
    server.faults += [sent("", 308, Location="/v1/chat/completions")] * 10
    with pytest.raises(InputError, match="redirects without end"):
        one_answer(server)


def test_the_query_of_a_url_is_sent_with_every_request_and_logged_nowhere(
    server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    query = "api-version=2024-02-01&token=a%2Fb+secret"
    url = server.url.replace("http://", "http://user:hunter2@") + f"?{query}"
    asked = generator(url)
    asked.check()
    server.faults.append(sent("", 307, Location=f"/v1/chat/completions?{query}"))
    assert dict(asked.answer(["Hello"], GREEDY))[0].text == "answer to Hello"
    assert server.queries == [query] * 3
    assert [path for path, _, _ in server.requests] == ["/v1/models"] + ["/v1/chat/completions"] * 2
    shown = caplog.text + json.dumps(asked.describe())
    assert "hunter2" not in shown
    assert "secret" not in shown


def test_a_failure_inside_http_200_is_tried_again_and_never_yielded(server: ModelServer) -> None:
    server.faults += [said("Half", "error"), said(None, "OTHER"), said(None, "stop", tool_calls=[{"id": "1"}])]
    assert one_answer(server, retries=3) == Answer("answer to Hello", True)
    server.faults += [said("Half", "error")] * 3
    with pytest.raises(InputError, match="ended with finish_reason 'error'; every retry failed"):
        one_answer(server)


def test_answers_in_progress_do_not_hold_up_an_interrupted_run(server: ModelServer) -> None:
    hanging = threading.Event()

    def answer(body: dict[str, Any]) -> Any:
        if body["messages"][-1]["content"] != "first":
            hanging.wait(5)
        return said("done")

    server.answer = answer
    answers = generator(server.url, concurrency=2).answer(["first", "second", "third"], GREEDY)
    assert next(iter(answers)) == (0, Answer("done", True))
    began = time.monotonic()
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 4
    hanging.set()
