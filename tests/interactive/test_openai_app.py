"""``serve``, as the openai client and as ill-behaved clients use it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import pytest
from helpers.served_answers import PROMPTS
from helpers.web_apps import running

from prosafeprune.generation.backend import Decoding, answer_all
from prosafeprune.generation.local import LocalGenerator
from prosafeprune.interactive import slow_clients
from prosafeprune.interactive.guard import MOST_BODY_BYTES
from prosafeprune.interactive.openai_app import openai_app
from prosafeprune.jobs.served_model import ServedModel

ASKED: dict[str, Any] = {"max_tokens": 8, "temperature": 0}


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def say(client: openai.OpenAI, prompt: str, model: str = "base", **settings: Any) -> Any:
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}], **{**ASKED, **settings}
    )


def text_of(client: openai.OpenAI, prompt: str, model: str = "base", **settings: Any) -> str:
    return str(say(client, prompt, model, **settings).choices[0].message.content)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_models_are_listed_by_strength(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[:2] == ["base", "pruned"]
    assert "pruned@0.6" in names
    assert client.models.retrieve("pruned@0.35").id == "pruned@0.35"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_strength_is_part_of_the_name(client: openai.OpenAI, served: ServedModel) -> None:
    [wanted] = answer_all(LocalGenerator(served.engine.loaded), [PROMPTS[0]], Decoding(max_new_tokens=8))
    assert text_of(client, PROMPTS[0]) == text_of(client, PROMPTS[0], "pruned@0") == wanted.text
    assert len({text_of(client, PROMPTS[0], name) for name in ("base", "pruned", "pruned@0.6", "org/tiny")}) == 3


def test_a_stream_joins_to_the_answer(client: openai.OpenAI) -> None:
    whole = say(client, PROMPTS[2], "pruned")
    parts = list(say(client, PROMPTS[2], "pruned", stream=True, stream_options={"include_usage": True}))
    joined = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert joined == whole.choices[0].message.content
    assert [part.choices[0].finish_reason for part in parts if part.choices][-1] == "length"
    assert parts[-1].usage == whole.usage
    assert whole.usage.completion_tokens == 8
    assert len({part.id for part in parts}) == 1


def test_a_conversation_with_a_system_prompt_and_parts(client: openai.OpenAI) -> None:
    turns: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Name a river."},
    ]
    with_all = client.chat.completions.create(model="base", messages=turns, **ASKED)
    assert with_all.usage.prompt_tokens > say(client, "Name a river.").usage.prompt_tokens + len("Be brief.HiHello.")


def test_the_parts_of_a_message_are_a_line_each(client: openai.OpenAI) -> None:
    parts: list[Any] = [{"type": "text", "text": text} for text in ("Name a river.", "Be brief.")]
    joined = client.chat.completions.create(model="base", messages=[{"role": "user", "content": parts}], **ASKED)
    assert joined.usage == say(client, "Name a river.\nBe brief.").usage
    assert joined.choices[0].message == say(client, "Name a river.\nBe brief.").choices[0].message


def test_stop_strings_temperature_and_seed(client: openai.OpenAI, served: ServedModel) -> None:
    text = text_of(client, PROMPTS[0])
    sampled = {"temperature": 2.0, "seed": 0, "max_tokens": 40}  # random bytes
    longer = text_of(client, PROMPTS[0], **sampled)
    stop = [character for character in longer if character.isascii() and character.isprintable()][1]
    stopped = say(client, PROMPTS[0], stop=[stop], **sampled)
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content == longer[: longer.index(stop)].strip()
    decoding = Decoding(max_new_tokens=8, temperature=0.9, seed=3)
    [wanted] = answer_all(LocalGenerator(served.engine.loaded), [PROMPTS[0]], decoding)
    assert text_of(client, PROMPTS[0], temperature=0.9, seed=3) == wanted.text
    assert len({text_of(client, PROMPTS[0], temperature=1.5) for _ in range(3)}) > 1  # a random seed each
    assert text_of(client, PROMPTS[0], temperature=0.9, top_p=0.0) == text


def test_fifty_requests_at_once(client: openai.OpenAI) -> None:
    names = ["base", "pruned", "pruned@0.6"]
    alone = [text_of(client, PROMPTS[0], name) for name in names]
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda i: text_of(client, PROMPTS[0], names[i % 3]), range(50)))
    assert found == [alone[i % 3] for i in range(50)]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_its_row(stream: bool, url: str, served: ServedModel) -> None:
    body = {"model": "base", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1500, "stream": stream}
    content = json.dumps(body).encode()
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        wait_for(lambda: served.engine.load == (1, 0))
    wait_for(lambda: served.engine.load == (0, 0))


def post(url: str, content: bytes | dict[str, Any], **headers: str) -> httpx2.Response:
    given = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    sent = content if isinstance(content, bytes) else json.dumps(content).encode()
    return httpx2.post(f"{url}/v1/chat/completions", content=sent, headers=given)


OK = {"model": "base", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


@pytest.mark.parametrize(
    ("changed", "status", "message"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user"}]}, 400, "messages.0.content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages.0.content"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, 400, "must end with words of the user"),
        ({"messages": [{"role": "user", "content": "a" * 5000}]}, 400, "positions"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"temperature": 3}, 400, "temperature"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"stop": [""]}, 400, "stop"),
        ({"tools": [{"type": "function"}]}, 400, "tools is not supported"),
        ({"n": 2}, 400, "n is not supported"),
        ({"max_tokens": 2048}, 400, "Shorten the prompt or lower max_tokens."),
        ({"repetition_penalty": 1.2}, 400, "repetition_penalty is not supported"),
        ({"top_k": 5}, 400, "top_k is not supported"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, 400, "chat_template_kwargs is not supported"),
        ({"model": "other"}, 404, "There is no model 'other'"),
        ({"model": "base@0.6"}, 404, "Ask for base, pruned, plan-2, or a strength, such as pruned@0.6."),
        ({"model": "pruned@2"}, 400, "not from 0 to 1"),
        ({"model": "pruned@nan"}, 400, "not from 0 to 1"),
        ({"model": "pruned@much"}, 404, "There is no model"),
        ({"model": 7}, 400, "model"),
    ],
)
def test_malformed_requests_are_errors_in_the_form_of_the_api(
    url: str, changed: dict[str, Any], status: int, message: str
) -> None:
    reply = post(url, {**OK, **changed})
    assert reply.status_code == status
    assert message in reply.json()["error"]["message"]
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_settings_that_ask_for_nothing_are_taken(url: str) -> None:
    neutral = {"top_k": -1, "repetition_penalty": 1.0, "n": 1, "tools": [], "chat_template_kwargs": {}, "user": "me"}
    assert post(url, {**OK, **neutral}).status_code == 200


def test_without_a_limit_an_answer_may_fill_the_positions_that_are_left(url: str) -> None:
    messages = [{"role": "user", "content": "a" * 1990}]
    usage = post(url, {"model": "base", "messages": messages}).json()["usage"]
    assert usage["total_tokens"] == 2048
    assert 0 < usage["completion_tokens"] < 60


def test_oversized_and_broken_bodies(url: str) -> None:
    for body, status in (
        (b'{"model": "' + b"a" * MOST_BODY_BYTES + b'"}', 413),
        (b"{", 400),
        (b'{"messages": [{"role": "user", "content": "cut \\ud83d"}]}', 400),
        (b"[1]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b"", 400),
    ):
        reply = post(url, body)
        assert reply.status_code == status
        assert reply.json()["error"]["message"].endswith((".", "it."))
    assert post(url, OK).status_code == 200


def test_other_sites_and_names_are_refused(url: str) -> None:
    assert post(url, OK, Origin=url).status_code == 200
    assert post(url, OK, Origin="https://evil.example").status_code == 403
    assert post(url, OK, Origin="null").status_code == 403
    assert post(url, OK, Host="evil.example").status_code == 403
    assert post(url, OK, Content_Type="text/plain").status_code == 415
    assert post(url, OK, Content_Type="Application/JSON; charset=utf-8").status_code == 200  # media types have no case
    assert httpx2.get(f"{url}/v1/nothing").json()["error"]["message"].startswith("GET /v1/nothing")


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (HEAD, b""),
        (HEAD + b"Content-Length: 99\r\n\r\n{", b"HTTP/1.1 408"),
        (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/models HT", b"HTTP/1.1 200"),
    ],
    ids=["nothing", "half a head", "half a body", "half a second request"],
)
def test_connections_of_clients_that_are_too_slow_are_closed(
    sent: bytes, status: bytes, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "MOST_SECONDS", 0.2)
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(sent)
        received = b"".join(iter(lambda: connection.recv(4096), b""))  # until the server closes it
    assert received[: len(status)] == status
    assert received.count(b"HTTP/1.1") == bool(status)


def test_an_answer_may_take_longer_than_its_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "MOST_SECONDS", 0.2)
    reply = httpx2.post(f"{url}/v1/chat/completions", json={**OK, "max_tokens": 400}, timeout=60)
    assert reply.json()["usage"]["completion_tokens"] == 400


def test_with_a_token_every_request_must_bear_it(served: ServedModel) -> None:
    secret = "a-secret-of-the-tests"
    with running(openai_app(served), secret) as url:
        assert post(url, OK).status_code == 401
        assert post(url, OK, Authorization="Bearer wrong").json()["error"]["code"] == "invalid_api_key"
        assert post(url, OK, Authorization=f"Bearer {secret}").status_code == 200
        reply = httpx2.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {secret}"})
        assert "script-src 'self'" in reply.headers["Content-Security-Policy"]


def test_evaluate_measures_a_strength(
    url: str, run: Callable[..., tuple[int, str, str]], few_prompts: None, tmp_path: Path
) -> None:
    where = ("--endpoint", f"{url}/v1", "--model", "pruned@0.6")
    code, _, err = run("evaluate", *where, "--max-new-tokens", 2, "-o", tmp_path / "measured")
    assert code == 0, err
    assert (tmp_path / "measured" / "answers.jsonl").is_file()
