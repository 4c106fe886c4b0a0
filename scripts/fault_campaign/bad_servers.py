"""Servers that send what no server should: each reply is an answer, or the command ends in one line."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from helpers.model_server import ModelServer, Sent, Stream, said

from fault_campaign import mutations
from fault_campaign.cases import Bad
from fault_campaign.world import FEW, World, evaluating

REPLIES = 6
"""Different replies of one server; then they are sent again."""
KINDS = (
    *("value", "value", "value", "bytes", "status", "header", "stream", "bomb", "cut", "drip", "slow", "redirect"),
    *("huge", "type", "no UTF-8", "chunks"),
)
SECONDS = 3.0
"""In place of minutes, for a complete reply."""


def server(world: World, case: Path, draw: random.Random) -> Bad:
    """Give a command that asks a server whose replies are spoiled."""
    replies = [_reply(draw) for _ in range(REPLIES)]
    models = draw.choice([["tiny"], ["tiny"], None, [], ["a", "b"], [mutations.odd_value(draw)]])
    # The server's address is known once it runs, in the process of the command.
    arguments = ["evaluate", "--endpoint", "ADDRESS", "-o", case / "out", *FEW[:2]]
    arguments += ["--test-harmful", world.prompts("harmful"), "--test-pseudo-harmful", world.prompts("pseudo_harmful")]
    what = f"a server that sends {ascii(replies[0])[:200]}, with the models {ascii(models)[:60]}"
    return Bad(arguments, what, setup=_serve(replies, models))


def judging_server(world: World, case: Path, draw: random.Random) -> Bad:
    """Give a command whose judge, or rater, is behind a server whose replies are spoiled."""
    replies = [_reply(draw) for _ in range(REPLIES)]
    how = draw.choice(["llm", "llm", "wildguard", "qwen3guard", "rate"])
    judge = ["--judge", how, "--judge-endpoint", "ADDRESS"]
    arguments: list[object] = ["judge", world.answers, "-o", case / "out.jsonl", *judge]
    if how == "rate":
        arguments = ["prompts", "rate", world.prompts("benign"), "--endpoint", "ADDRESS", "-o", case / "out.jsonl"]
    elif draw.random() < 0.2:
        arguments = evaluating(world, case / "out", *judge)
    what = f"a judge's server ({how}) that sends {ascii(replies[0])[:200]}"
    return Bad(arguments, what, setup=_serve(replies, draw.choice([["tiny"], ["tiny"], None, ["\x1b[2J"]])))


def _serve(replies: list[Any], models: Any) -> Callable[[], None]:
    def setup() -> None:
        import sys

        from prosafeprune.generation import openai_client

        openai_client.RETRIES, openai_client.CHECK_RETRIES, openai_client.TIMEOUT = 0, 0, SECONDS
        openai_client.OpenAIClient.__init__.__kwdefaults__.update(retries=0, timeout=SECONDS)
        running, further = ModelServer(), cycle(replies)
        running.models, running.answer = models, lambda body: next(further)
        sys.argv[sys.argv.index("ADDRESS")] = running.url

    return setup


def _reply(draw: random.Random) -> Sent | str | Stream:
    status, headers, content = said(draw.choice(["No.", "", "\x1b]52;c;eA==\x07", "\ud83d", "<think>" * 9999]))
    how = draw.choice([*KINDS])
    if how == "value":
        tree, _ = mutations.changed(json.loads(content), draw)
        content = json.dumps(tree).encode()
    elif how == "bytes":
        content = content[: draw.randrange(len(content))] + draw.randbytes(draw.choice([0, 9, 999]))
    elif how == "status":
        status = draw.choice([100, 204, 206, 301, 307, 400, 404, 413, 418, 422, 429, 500, 503, 599, 999])
    elif how == "header":
        odd = draw.choice(["1e9", "nan", "-1", "http://elsewhere.invalid/v1", "gzip", "x" * 9000, "\xff"])
        headers |= {draw.choice(["Retry-After", "Location", "Content-Encoding", "Content-Type", "Set-Cookie"]): odd}
    elif how == "stream":
        event = f"data: {content.decode()}\n\n"
        content = draw.choice([event * 3, "data: [DONE]\n\n", f": alive\n{event}", "data: {", "data:" * 9999]).encode()
    elif how == "bomb":
        headers, content = {**headers, "Content-Encoding": "gzip"}, gzip.compress(b" " * 50_000_000)
    elif how == "cut":
        return "cut"
    elif how == "drip":
        return [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", content]
    elif how == "slow":  # a byte now and then: no read takes long
        return _Drips(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + content)
    elif how == "redirect":
        status = draw.choice([301, 302, 303, 307, 308])
        odd = ["/v1/models", "/elsewhere", "", "//elsewhere.invalid/", "file:///etc/passwd", "http://[::1", "\xff\xfe"]
        headers |= {"Location": draw.choice([*odd, "http://127.0.0.1:1/v1", "data:,x", "x" * 70_000])}
    elif how == "huge":
        content = draw.choice([b"[" * 2_000_000, b'{"choices": ' + b" " * 40_000_000, content * 100_000])
    elif how == "type":
        headers["Content-Type"] = draw.choice(
            ["text/html", "image/png", "text/event-stream", "application/json; charset=x"]
        )
    elif how == "no UTF-8":
        content = content.replace(
            b'"content": "', b'"content": "' + draw.choice([b"\xff\xfe", b"\xed\xa0\x80", b"\x80"])
        )
    elif how == "chunks":
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return [head, draw.choice([b"zz\r\n", b"-1\r\nx\r\n", b"ffffffffffffffff\r\nx", b"2\r\n{}\r\n", b"0\r\n"])]
    return status, headers, content


@dataclass(frozen=True)
class _Drips:
    """A body that is sent byte by byte, to any number of requests at the same time."""

    content: bytes

    def __iter__(self) -> Iterator[bytes]:
        for byte in self.content:
            time.sleep(0.2)
            yield bytes([byte])
