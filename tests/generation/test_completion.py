"""What is read from servers' replies, and the failures that hide inside HTTP 200."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from prosafeprune.generation.completion import Completion, FailedCompletion, read_completion, read_model_names


def reply(content: object, finish_reason: object = "stop", **message: Any) -> bytes:
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}
    return json.dumps({"choices": [choice]}).encode()


def stream(*events: object, done: bool = True) -> bytes:
    lines = [": OPENROUTER PROCESSING", *(f"data: {json.dumps(event)}" for event in events)]
    return ("\n\n".join([*lines, *(["data: [DONE]"] if done else [])]) + "\n").encode()


def delta(finish_reason: str | None = None, **message: Any) -> dict[str, Any]:
    return {"choices": [{"delta": message, "finish_reason": finish_reason}]}


@pytest.mark.parametrize(
    "content",
    [
        "Hi there",
        ["Hi ", "there"],
        {"type": "text", "text": "Hi there"},
        [{"type": "text", "text": "Hi "}, {"type": "output_text", "text": "there"}],
        [{"type": "thinking", "thinking": "Hm", "text": "Hm"}, {"type": "text", "text": {"value": "Hi there"}}],
        {"parts": [{"text": "Hi "}, {"text": "there"}]},
    ],
)
def test_content_is_read_as_text_parts_dict_or_list(content: object) -> None:
    assert read_completion(reply(content)) == Completion("Hi there", finished=True)


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + reply("Hi there"),
        b": keep-alive\n\n: keep-alive\n" + reply("Hi there"),
        b"\n\n   \n" + reply("Hi there"),
        stream(delta(role="assistant"), delta(content="Hi "), delta(content="there"), delta("stop")),
        stream(delta(content="Hi "), delta("stop", content="there"), {"choices": [], "usage": {}}, done=False),
        stream({"choices": [{"text": "Hi "}]}, {"choices": [{"text": "there", "finish_reason": "stop"}]}),
        b"event: message\n" + stream(delta("stop", content="Hi there")).replace(b"\n", b"\r\n"),
    ],
)
def test_marks_comments_and_event_streams_are_read(body: bytes) -> None:
    assert read_completion(body) == Completion("Hi there", finished=True)


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "FINISH_REASON_MAX_TOKENS", "max_output_tokens"])
def test_an_answer_cut_at_the_limit_is_not_finished(reason: str) -> None:
    assert read_completion(reply("Half an ans", reason)) == Completion("Half an ans", finished=False)
    assert not read_completion(stream(delta(reason, content="Half an ans"))).finished


@pytest.mark.parametrize("reason", ["stop", "STOP", "eos", "end_turn", None])
def test_an_answer_that_the_model_ended_is_finished(reason: str | None) -> None:
    assert read_completion(reply("All of it", reason)).finished
    assert read_completion(reply(None, "stop")) == Completion("", finished=True)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (reply("Half", "error"), "finish_reason 'error'"),
        (reply("Half", "abort"), "finish_reason 'abort'"),
        (reply(None, "ERROR"), "finish_reason 'ERROR'"),
        (reply("Half", "never heard of"), "finish_reason 'never heard of'"),
        (reply(None, "tool_calls", tool_calls=[{"id": "1"}]), "finish_reason 'tool_calls'"),
        (reply("", "stop", tool_calls=[{"id": "1"}]), "called a tool"),
        (reply(None, "stop", function_call={"name": "f"}), "called a tool"),
        (reply(5), "without text"),
        (reply([{"type": "image_url", "image_url": {"url": "x"}}]), "without text"),
        (b'{"choices": [{"message": {}}]}', "without text"),
        (b'{"choices": [{"finish_reason": "stop"}]}', "without text"),
        (b'{"error": {"message": "upstream"}, "choices": [{"message": {"content": "Hi"}}]}', "an error .*upstream"),
        (b'{"choices": [{"error": {"code": 502}, "message": {"content": ""}}]}', "an error .*502"),
        (b'{"choices": {}}', "without choices"),
        (b'["choices"]', "without choices"),
        (b"null", "without choices"),
        (b"", "sent no JSON .nothing"),
        (b"\xff\xfe\x00", "sent no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (reply("x").replace(b'"x"', b'{"text": ' * 400 + b"1" + b"}" * 400), "without text|too deeply"),
        (b'{"choices": ' + b"9" * 5000 + b"}", "sent no JSON"),
        (stream(delta(content="Half")), "finish_reason 'broken stream'"),
        (stream(delta(content="Half"), done=False), "finish_reason 'broken stream'"),
        (stream(delta(content="Half"), {"error": {"message": "upstream"}}), "an error .*upstream"),
        (b'data: {"choices": [\n', "sent no JSON"),
        (b"data: [1]\n\ndata: 7\n", "sent no JSON"),
        (reply("ab " * 400_000), "an answer of 1200000 characters"),
        (reply(None, reasoning="ab " * 400_000), "an answer of 1200007 characters"),
    ],
)
def test_a_failure_inside_http_200_is_no_answer(body: bytes, problem: str) -> None:
    with pytest.raises(FailedCompletion, match=problem) as raised:
        read_completion(body)
    assert "\n" not in str(raised.value)


def test_an_error_that_is_null_is_none() -> None:
    assert read_completion(b'{"error": null, "choices": [{"text": "Hi", "finish_reason": "stop"}]}').text == "Hi"


def test_reasoning_stands_for_an_answer_only_where_there_is_none() -> None:
    streamed = stream(delta(reasoning_content="Let me "), delta("length", reasoning_content="think"))
    assert read_completion(streamed) == Completion("<think>Let me think", finished=False)
    assert read_completion(reply("Hi", reasoning_content="Hm")).text == "Hi"


def test_refusals_of_the_filter() -> None:
    part = [{"type": "refusal", "refusal": "I can't help with that."}]
    assert read_completion(reply(part)) == Completion("I can't help with that.", finished=True, withheld=True)
    assert read_completion(reply("Half", "content_filter")) == Completion("Half", finished=False, withheld=True)


@pytest.mark.parametrize("reason", ["SAFETY", "PROHIBITED_CONTENT", "content_filter: SAFETY", "FINISH_REASON_SAFETY"])
def test_gemini_s_names_of_the_filter(reason: str) -> None:
    assert read_completion(reply(None, reason)) == Completion("", finished=True, withheld=True)


def test_lone_surrogates_are_replaced_and_pairs_are_not() -> None:
    body = b'{"choices": [{"text": "a\\ud83d b\\ud83d\\ude00 \\ude00", "finish_reason": "stop"}]}'
    assert read_completion(body).text == "a\ufffd b\U0001f600 \ufffd"
    assert read_model_names(b'{"data": [{"id": "x\\ud800"}]}') == ["x\ufffd"]


def test_fifty_thousand_marks_take_no_time() -> None:
    began = time.perf_counter()
    read_completion(reply(None, reasoning="<think>" * 50_000))
    read_completion(b": \n" * 50_000 + reply("Hi"))
    read_completion(reply([["Hi"] * 10] * 500))
    assert time.perf_counter() - began < 5


def test_an_answer_in_a_stream_may_hold_other_line_separators() -> None:
    event = {"choices": [{"delta": {"content": "a\u2028b\x85c"}, "finish_reason": "stop"}]}
    body = f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
    assert read_completion(body).text == "a\u2028b\x85c"
