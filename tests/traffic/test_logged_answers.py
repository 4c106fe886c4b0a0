"""Which text of a log is the answer to which request: tools, refusals in fields, pictures, streams, replies as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prosafeprune.traffic.log_files import read_turns
from prosafeprune.traffic.turns import LoggedTurn

REFUSAL = "I can't help with that."
SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "How do I kill a process?"}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "pid 1"}
REPLY = {"choices": [{"index": 0, "message": {"role": "assistant", "content": REFUSAL}}]}
ASKED = (("system", "Be brief."), ("user", USER["content"]))


def read(path: Path, *entries: dict[str, Any]) -> list[LoggedTurn | tuple[int, str]]:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return list(read_turns(path, "prompt", "completion"))


@pytest.mark.parametrize("said", [None, "", "I look it up."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_request_that_ends_with_the_result_of_a_tool(said: str | None, wrapped: bool, tmp_path: Path) -> None:
    request = {"messages": [SYSTEM, USER, {**CALL, "content": said}, RESULT]}
    entry = {"request": request, "response": REPLY} if wrapped else {**request, "response": REFUSAL}
    answer = f"{said}\n\n{REFUSAL}" if said else REFUSAL
    assert read(tmp_path / "log.jsonl", entry) == [LoggedTurn(ASKED, answer, "log.jsonl", 1)]


def test_results_of_tools_under_the_role_of_the_user(tmp_path: Path) -> None:
    """As in Anthropic's format."""
    call = {"role": "assistant", "content": [{"type": "text", "text": "I look."}, {"type": "tool_use", "id": "1"}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "pid 1"}]}
    messages = [USER, call, result]
    reply = {"role": "assistant", "content": [{"type": "text", "text": REFUSAL}]}
    entries = [{"messages": [*messages, reply]}, {"request": {"messages": messages}, "response": reply}]
    answer = f"I look.\n\n{REFUSAL}"
    found = read(tmp_path / "log.jsonl", *entries)
    assert found == [LoggedTurn(ASKED[1:], answer, "log.jsonl", line) for line in (1, 2)]


def test_a_request_that_begins_its_answer(tmp_path: Path) -> None:
    entry = {"request": {"messages": [SYSTEM, USER, {"role": "assistant", "content": "Well,"}]}, "response": REPLY}
    assert read(tmp_path / "log.jsonl", entry) == [LoggedTurn(ASKED, f"Well,\n\n{REFUSAL}", "log.jsonl", 1)]


@pytest.mark.parametrize(
    "entry",
    [
        {"messages": [SYSTEM, USER, {"role": "assistant", "content": None, "refusal": REFUSAL}]},
        {"messages": [SYSTEM, USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": REFUSAL}]}]},
        {
            "messages": [SYSTEM, USER],
            "response": {"choices": [{"message": {"role": "assistant", "content": None, "refusal": REFUSAL}}]},
        },
    ],
)
def test_a_refusal_in_a_field_of_its_own(entry: dict[str, Any], tmp_path: Path) -> None:
    assert read(tmp_path / "log.jsonl", entry) == [LoggedTurn(ASKED, REFUSAL, "log.jsonl", 1)]


def test_the_answer_to_a_picture_is_not_that_to_the_request_before(tmp_path: Path) -> None:
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
    said = [{"role": "assistant", "content": text} for text in ("Use kill.", "I can't see pictures.", "You are.")]
    thanks = {"role": "user", "content": "Who is?"}
    first, last = read(tmp_path / "log.jsonl", {"messages": [USER, said[0], picture, said[1], thanks, said[2]]})
    assert first == LoggedTurn(ASKED[1:], "Use kill.", "log.jsonl", 1)
    before = (*ASKED[1:], ("assistant", "Use kill."), ("user", "Who is?"))
    assert last == LoggedTurn(before, "You are.", "log.jsonl", 1)
    request = {"messages": [USER, said[0], picture], "response": REFUSAL}
    assert read(tmp_path / "log.jsonl", request) == [(1, "has a conversation without an answer")]


def test_a_conversation_whose_last_turn_has_no_answer(tmp_path: Path) -> None:
    turns = [USER, {"role": "assistant", "content": REFUSAL}, {"role": "user", "content": "Why?"}]
    expected = [LoggedTurn(ASKED[1:], REFUSAL, "log.jsonl", 1)]
    assert read(tmp_path / "log.jsonl", {"conversations": turns}) == expected
    failed = read(tmp_path / "log.jsonl", {"messages": turns, "response": None}, {"request": {"messages": turns}})
    assert failed == [(line, "has a conversation without an answer") for line in (1, 2)]


def test_an_entry_without_an_answer_is_counted(tmp_path: Path) -> None:
    entries = [{"messages": [USER, {"role": "assistant", "content": said}]} for said in ("", None)]
    found = read(tmp_path / "log.jsonl", *entries, {"messages": [USER, CALL, RESULT]})
    assert found == [(line, "has a conversation without an answer") for line in (1, 2, 3)]


@pytest.mark.parametrize("system", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
def test_a_system_prompt_next_to_the_messages(system: Any, tmp_path: Path) -> None:
    answered = [USER, {"role": "assistant", "content": REFUSAL}]
    entries: list[dict[str, Any]] = [
        {
            "request": {"system": system, "messages": [USER]},
            "response": {"content": [{"type": "text", "text": REFUSAL}]},
        },
        {"system": system, "conversations": answered},
        {"system": system, "messages": [SYSTEM, *answered]},
        {"system": system, "prompt": USER["content"], "completion": REFUSAL},
    ]
    found = read(tmp_path / "log.jsonl", *entries)
    assert found == [LoggedTurn(ASKED, REFUSAL, "log.jsonl", line) for line in (1, 2, 3, 4)]


def test_a_reply_whose_body_is_text(tmp_path: Path) -> None:
    """Gateways log what they passed on as it was, without reading it."""
    entries: list[dict[str, Any]] = [
        {"request": {"body": json.dumps({"messages": [USER]})}, "response": {"status": 200, "body": json.dumps(REPLY)}},
        {"messages": [USER], "response": 'data: {"choices": [{"delta": {"content": "I"}}]}\n\ndata: [DONE]\n'},
        {"messages": [USER], "response": {"body": 'event: message_start\ndata: {"type": "message_start"}\n'}},
        {"messages": [USER], "response": json.dumps({"pid": 1})},
    ]
    reply, *streams, in_json = read(tmp_path / "log.jsonl", *entries)
    assert reply == LoggedTurn(ASKED[1:], REFUSAL, "log.jsonl", 1)
    assert streams == [(line, "its answer is a stream of events; log the complete answer") for line in (2, 3)]
    assert in_json == LoggedTurn(ASKED[1:], '{"pid": 1}', "log.jsonl", 4)


def test_results_of_tools_in_the_text_of_a_template(tmp_path: Path) -> None:
    turns = [("user", USER["content"]), ("assistant", "I look."), ("user", "<tool_response>\npid 1\n</tool_response>")]
    prompt = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + "<|im_start|>assistant\n"
    path = tmp_path / "vllm.log"
    path.write_text(
        f"INFO Received request chatcmpl-1: prompt: {prompt!r}, params: x\n"
        f"INFO Generated response chatcmpl-1: output: {REFUSAL!r}, output_token_ids: None\n"
    )
    expected = LoggedTurn(ASKED[1:], f"I look.\n\n{REFUSAL}", "vllm.log", 2)
    assert list(read_turns(path, "prompt", "completion")) == [expected]


@pytest.mark.parametrize("with_parts", [True, False])
def test_a_streamed_response_of_which_vllm_logs_only_the_length(with_parts: bool, tmp_path: Path) -> None:
    parts = ["I can't", " help with", " that."] if with_parts else []
    prompt = f"<|im_start|>user\n{USER['content']}<|im_end|>\n<|im_start|>assistant\n"
    path = tmp_path / "vllm.log"
    logged = [f" (streaming delta): output: {part!r}, output_token_ids: [1]" for part in parts]
    logged.append(" (streaming complete): output: '<streaming_complete: 7 tokens>', output_token_ids: None")
    lines = [f"INFO Generated response chatcmpl-1{line}" for line in logged]
    path.write_text("\n".join([f"INFO Received request chatcmpl-1: prompt: {prompt!r}, params: x", *lines]))
    missing = (2, "the text of a streamed response is not in the log")
    expected = LoggedTurn(ASKED[1:], REFUSAL, "vllm.log", 5) if with_parts else missing
    assert list(read_turns(path, "prompt", "completion")) == [expected]
