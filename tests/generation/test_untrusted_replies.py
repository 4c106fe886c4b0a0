"""Replies and addresses of servers: any of them is read, or is one line; nothing else happens."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from prosafeprune.errors import InputError
from prosafeprune.generation.completion import FailedCompletion, read_completion, read_model_names
from prosafeprune.generation.credentials import LONGEST_EXCERPT
from prosafeprune.generation.endpoint_address import read_addresses

FIELDS = (
    "choices",
    "message",
    "content",
    "text",
    "finish_reason",
    "error",
    "refusal",
    "reasoning",
    "tool_calls",
    "delta",
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["stop", "length"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
LINES = st.sampled_from(
    ["data: ", "data:", "event: x", ": alive", "[DONE]", "\n", "\r\n", '{"choices": [', "]}", "\\ud83d"]
)
REPLIES = st.one_of(
    st.binary(max_size=200),
    VALUES.map(lambda value: json.dumps(value).encode()),
    VALUES.map(lambda value: json.dumps({"choices": [value]}).encode()),
    VALUES.map(lambda value: f"data: {json.dumps({'choices': [value]})}\n\ndata: [DONE]\n\n".encode()),
    st.lists(LINES | st.text(max_size=5), max_size=20).map(lambda parts: "".join(parts).encode(errors="surrogatepass")),
)


@given(reply=REPLIES)
@example(reply=b"[" * 100_000)
@example(reply=b'{"choices": [' + b"9" * 5000 + b"]}")
@example(reply=b"data: " * 50_000)
def test_any_reply_is_a_completion_or_a_failure_in_one_line(reply: bytes) -> None:
    try:
        found = read_completion(reply)
    except FailedCompletion as failure:
        assert "\n" not in str(failure)
        assert len(str(failure)) < LONGEST_EXCERPT + 100
    else:
        assert isinstance(found.finished, bool)
        assert found.text.encode() is not None  # no lone surrogates


@given(reply=REPLIES | VALUES.map(lambda value: json.dumps({"data": [{"id": value}]}).encode()))
def test_any_list_of_models_is_names_or_none(reply: bytes) -> None:
    names = read_model_names(reply)
    assert names is None or all(name.encode() is not None for name in names)


PIECES = st.sampled_from(
    ["http://", "https://", "ftp://", "user", ":", "@", "/", "?", "#", ",", "[", "]", "::1", "%", "%2F", ":99999", "v1"]
)


@given(parts=st.lists(PIECES | st.text(max_size=4), max_size=10), secret=st.just("hunter2-hunter2"))
@example(parts=["http://[", "::1"], secret="hunter2-hunter2")
def test_any_address_is_one_or_one_line_without_its_password(parts: list[str], secret: str) -> None:
    text = "".join(parts)
    for given_text in (text, f"http://user:{secret}@{text}", f"{text}http://u:{secret}@h/v1"):
        try:
            shown = "".join(f"{one.shown}{one!r}" for one in read_addresses(given_text))
        except InputError as error:
            shown = str(error)
            assert "\n" not in shown
        assert secret not in shown
