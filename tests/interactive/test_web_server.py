"""Where servers listen, and what they need for it."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from prosafeprune.errors import InputError
from prosafeprune.interactive import web_server
from prosafeprune.interactive.web_server import TOKEN_VARIABLE, is_loopback, listen, page_token, token_for, url_of


def test_loopback_needs_no_token_and_other_hosts_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")] == [
        *[True] * 3,
        *[False] * 2,
    ]
    assert token_for("127.0.0.1") is None
    assert page_token("127.0.0.1") != page_token("127.0.0.1")
    with pytest.raises(InputError, match="others could use the model"):
        token_for("0.0.0.0")
    monkeypatch.setenv(TOKEN_VARIABLE, "short")
    with pytest.raises(InputError, match="at least 16"):
        token_for("127.0.0.1")
    monkeypatch.setenv(TOKEN_VARIABLE, "long enough for a token")
    assert token_for("0.0.0.0") == page_token("127.0.0.1") == "long enough for a token"


def test_a_port_in_use_is_one_line() -> None:
    with listen("127.0.0.1", 0) as first:
        first.listen()
        port = int(url_of(first).rpartition(":")[2])
        with pytest.raises(InputError, match="cannot be bound to"):
            listen("127.0.0.1", port)
    for host in ("no such host", "a..b", "a" * 300):
        with pytest.raises(InputError, match="cannot be bound to"):
            listen(host, 0)


@pytest.mark.parametrize("command", ["serve", "playground"])
def test_without_the_extra_the_commands_say_what_to_install(
    command: str, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(web_server, "find_spec", lambda name: None)
    code, _, err = run(command, tmp_path)
    assert code == 2
    assert "prosafeprune[playground]" in err


@pytest.mark.parametrize("command", ["serve", "playground"])
def test_the_commands_load_and_listen(
    command: str,
    run: Callable[..., tuple[int, str, str]],
    checkpoint: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served = []
    monkeypatch.setattr(web_server, "run_server", lambda app, *rest, **options: served.append(app))
    code, _, err = run(command, checkpoint("llama"), "--port", "0", "--device", "cpu")
    assert (code, len(served)) == (0, 1)
    assert "http://127.0.0.1:" in err


STREAMING = """
import asyncio
from prosafeprune.interactive.web_server import listen, run_server, url_of
async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.01)
listening = listen("127.0.0.1", 0)
listening.listen()
print(url_of(listening), flush=True)
run_server(application, listening, None)
"""


@pytest.mark.long
def test_an_interrupt_with_an_open_stream_prints_nothing() -> None:
    command = [sys.executable, "-c", STREAMING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stderr is not None
        with urllib.request.urlopen(server.stdout.readline().strip()) as stream:
            assert stream.read(1) == b"x"
            server.send_signal(signal.SIGINT)
            assert server.stderr.read() == ""
    assert server.returncode in (0, -signal.SIGINT)
