"""URLs, keys and names of models: what is sent to a server, and what is shown."""

from __future__ import annotations

import base64
import json
import traceback

import pytest
from helpers.endpoint_requests import GREEDY, generator, one_answer
from helpers.model_server import KEY, RETRIES, ModelServer, rejected, said

from prosafeprune.errors import InputError
from prosafeprune.generation.endpoint import EndpointGenerator
from prosafeprune.generation.endpoint_address import read_addresses, shown_urls
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
    described = EndpointGenerator(server.url).describe()
    assert described == {"backend": "endpoint", "urls": [server.url], "model": "tiny", "request": None}
    server.models = ["a", "b"]
    with pytest.raises(InputError, match="has several models. Name one. It has: a, b."):
        EndpointGenerator(server.url).describe()


def test_a_path_that_is_not_there(server: ModelServer) -> None:
    with pytest.raises(InputError, match="not found .*Check the URL"):
        list(generator(server.url + "/v2").answer(["Hello"], GREEDY))


def test_the_key_is_sent_and_never_shown(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-another")
    monkeypatch.setenv("PROSAFEPRUNE_API_KEY", KEY)
    server.key = KEY
    asked = generator(server.url)
    asked.check()
    assert dict(asked.answer(["Hello"], GREEDY))[0].text == "answer to Hello"
    shown = [json.dumps(asked.describe()), repr(asked.client.pool.servers)]
    for status in (400, 404, 418, 429, 500):
        server.faults += [rejected(f"Bad key {KEY}, header Bearer {KEY}, key sk-for-ano***her", status)] * 3
        with pytest.raises(InputError) as raised:
            one_answer(server)
        shown += traceback.format_exception(raised.value)
        server.faults.clear()
    assert not any(KEY in text or "sk-for" in text for text in shown)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("https://user:hunter2@example.org/v1/?token=hunter2", "https://example.org/v1"),
        ("http://[::1]:80/v1/chat/completions", "http://[::1]:80/v1"),
    ],
)
def test_addresses_are_shown_without_credentials(url: str, shown: str) -> None:
    found = OpenAIClient(url, "tiny")
    assert found.describe() == {"urls": [shown], "model": "tiny", "request": None}
    assert "hunter2" not in repr(found.pool.servers)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://host",
        "http://",
        "",
        " , ",
        "user:hunter2@host",
        "http://user:hunter2@host:port",
        "http://user:pa#hunter2@host/v1",
        "http://user:80#hunter2",
        "http://user:hunter2/ss@host/v1",
        "http://user:80/hunter2@host/v1",
        "http://user:80?hunter2@host/v1",
        "http://user:hunter2,ss",
        "http://one/v1,http://user:hunter2#@two/v1",
        "http://[hunter2]/v1",
        "http://hunter2 host/v1",
        "http://user:hunter2@256.1.1.1/v1",
        "http://user:hunter2@a..b/v1",
        f"http://user:hunter2@{'a' * 64}.org/v1",
    ],
)
def test_a_bad_address_is_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match=r"Write http://host:port/v1|Give its URL") as raised:
        OpenAIClient(url, "tiny")
    assert "hunter2" not in "".join(traceback.format_exception(raised.value, chain=False))


def test_several_addresses_and_a_comma_in_a_password() -> None:
    first, second = read_addresses("http://user:pa,ss@one/v1, https://two:81/x?key=a,b,")
    assert (first.shown, first.login) == ("http://one/v1", ("user", "pa,ss"))
    assert (second.shown, second.query) == ("https://two:81/x", "key=a,b")
    (encoded,) = read_addresses("http://user:a%23%2F%40@[::1]/v1")
    assert (encoded.shown, encoded.login) == ("http://[::1]/v1", ("user", "a#/@"))
    assert shown_urls("https://host/sk-12345/v1,http://u:p@host") == "https://host/[key]/v1,http://host/v1"


def test_a_listed_model_whose_name_holds_a_key_is_not_shown(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "my-own-key-1")
    server.models = ["of my-own-key-1\x1b[2J"]
    with pytest.raises(
        InputError, match=r"name cannot be shown as it is \('of \[key\] \[2J'\). Name the model"
    ) as raised:
        EndpointGenerator(server.url).describe()
    server.models += ["sk-abcdef"]
    with pytest.raises(InputError, match=r"It has: of \[key\] \[2J, \[key\]\.") as listed:
        EndpointGenerator(server.url).describe()
    assert "my-own-key" not in f"{raised.value}{listed.value}"


def test_credentials_that_a_server_quotes_are_hidden(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("PROSAFEPRUNE_API_KEY", "in-another-variable")
    url = server.url.replace("http://", "http://user:pass%2Fword-22@")
    quoted = f"{KEY} in-another-variable pass/word-22 pass%2Fword-22 {base64.b64encode(b'user:pass/word-22').decode()}"
    for _ in range(3):
        server.faults.append(rejected(f"Bad credentials: {quoted}", 500))
    with pytest.raises(InputError, match=r"Bad credentials: \[key\] \[key\] \[key\] \[key\] \[key\];"):
        list(generator(url).answer(["Hello"], GREEDY))
    server.faults.append(said(f"You are {quoted}"))
    assert dict(generator(url).answer(["Hello"], GREEDY))[0].text == "You are [key] [key] [key] [key] [key]"


def test_a_user_and_password_in_the_url_are_sent(server: ModelServer) -> None:
    client = OpenAIClient(server.url.replace("http://", "http://user:hunter2@"), "tiny", retries=RETRIES)
    client.ask(chat("Hello"), max_tokens=4)
    assert server.requests[-1][2]["authorization"].startswith("Basic ")
