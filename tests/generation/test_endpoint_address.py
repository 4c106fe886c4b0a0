"""Addresses, keys and names of models: what a server is asked with, and what of it is told."""

from __future__ import annotations

import json
import traceback

import pytest
from helpers.endpoint_requests import GREEDY, generator, one_answer
from helpers.model_server import KEY, RETRIES, ModelServer, rejected

from prosafeprune.errors import InputError
from prosafeprune.generation.endpoint import EndpointGenerator
from prosafeprune.generation.openai_client import OpenAIClient, chat

pytestmark = pytest.mark.usefixtures("no_key")


def test_check_finds_a_wrong_model_key_or_address(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    generator(server.url).check()
    server.models = ["other", "third"]
    with pytest.raises(InputError, match=r"has no model 'tiny'. It has: other, third\."):
        generator(server.url).check()
    server.models = None  # it lists nothing, but has the model
    server.faults.append("cut")
    generator(server.url).check()
    server.faults += [rejected("cannot load it", 500)] * 3
    with pytest.raises(
        InputError, match="HTTP 500: cannot load it; every retry failed.* The model asked for is 'tiny'"
    ):
        generator(server.url).check()
    server.key = KEY
    with pytest.raises(InputError, match=r"needs a key \(HTTP 401\). Set PROSAFEPRUNE_API_KEY"):
        generator(server.url).check()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-key")
    with pytest.raises(InputError, match="rejects the key in OPENAI_API_KEY") as raised:
        generator(server.url).check()
    assert "sk-wrong" not in "".join(traceback.format_exception(raised.value))
    server.die()
    with pytest.raises(InputError, match="cannot be reached"):
        generator(server.url).check()


def test_the_one_model_of_a_server_needs_no_name(server: ModelServer) -> None:
    assert EndpointGenerator(server.url).describe() == {"backend": "endpoint", "urls": [server.url], "model": "tiny"}
    server.models = ["a", "b"]
    with pytest.raises(InputError, match="has several models. Name one. It has: a, b."):
        EndpointGenerator(server.url).describe()


def test_a_path_that_is_not_there(server: ModelServer) -> None:
    with pytest.raises(InputError, match="not found .*Check the URL"):
        list(generator(server.url + "/v2").answer(["Hello"], GREEDY))


def test_the_key_is_sent_and_never_told(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-another")
    monkeypatch.setenv("PROSAFEPRUNE_API_KEY", KEY)
    server.key = KEY
    asked = generator(server.url)
    asked.check()
    assert dict(asked.answer(["Hello"], GREEDY))[0].text == "answer to Hello"
    told = [json.dumps(asked.describe()), repr(asked.client.pool.servers)]
    for status in (400, 404, 418, 429, 500):
        server.faults += [rejected(f"Bad key {KEY}, header Bearer {KEY}, key sk-for-ano***her", status)] * 3
        with pytest.raises(InputError) as raised:
            one_answer(server)
        told += traceback.format_exception(raised.value)
        server.faults.clear()
    assert not any(KEY in text or "sk-for" in text for text in told)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("https://user:hunter2@example.org/v1/?token=hunter2", "https://example.org/v1"),
        ("http://[::1]:80/v1/chat/completions", "http://[::1]:80/v1"),
    ],
)
def test_addresses_are_told_without_credentials(url: str, shown: str) -> None:
    found = OpenAIClient(url, "tiny")
    assert found.describe() == {"urls": [shown], "model": "tiny"}
    assert "hunter2" not in repr(found.pool.servers)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host", "http://", "", " , ", "user:hunter2@host", "http://user:hunter2@host:port"]
)
def test_a_bad_address_is_told_without_credentials(url: str) -> None:
    with pytest.raises(InputError, match=r"Write http://host:port/v1|Give its URL") as raised:
        OpenAIClient(url, "tiny")
    assert "hunter2" not in str(raised.value)


def test_a_user_and_password_in_the_url_are_sent(server: ModelServer) -> None:
    client = OpenAIClient(server.url.replace("http://", "http://user:hunter2@"), "tiny", retries=RETRIES)
    client.ask(chat("Hello"), max_tokens=4)
    assert server.requests[-1][2]["authorization"].startswith("Basic ")
