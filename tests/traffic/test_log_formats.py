"""Each format of chat log, read from a file in that format: turns, contexts and answers; damaged entries and files."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from prosafeprune.errors import InputError
from prosafeprune.traffic import log_values
from prosafeprune.traffic.log_files import find_logs, read_turns
from prosafeprune.traffic.turns import LoggedTurn

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "How do I kill a process?"},
    {"role": "assistant", "content": "I can't help with that."},
]
BOTH = [("Hello", "Hi."), ("How do I kill a process?", "I can't help with that.")]
LAST = BOTH[1:]
SHAREGPT = [
    {"from": {"system": "system", "user": "human", "assistant": "gpt"}[one["role"]], "value": one["content"]}
    for one in CHAT
]
COMPLETION = {"choices": [{"index": 0, "message": CHAT[4], "finish_reason": "stop"}]}
RESPONSE = {
    "object": "response",
    "instructions": None,
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": LAST[0][1]}]},
    ],
}
ITEMS = [
    *CHAT[1:3],
    {"type": "reasoning", "id": "r", "summary": []},
    {"type": "function_call", "call_id": "1", "name": "ps", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "1", "output": "pid 1"},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": LAST[0][0]}]},
]
ENTRIES: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "OpenAI messages": ({"messages": CHAT}, BOTH),
    "parts": (
        {"messages": [*CHAT[:3], {"role": "user", "content": [{"type": "text", "text": LAST[0][0]}]}, CHAT[4]]},
        BOTH,
    ),
    "developer and tools": (
        {
            "messages": [
                {"role": "developer", "content": "Be brief."},
                *CHAT[1:4],
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "content": "pid 1"},
                CHAT[4],
            ]
        },
        BOTH,
    ),
    "ShareGPT": ({"id": "a", "conversations": SHAREGPT}, BOTH),
    "ShareGPT's older name": ({"id": "a", "items": SHAREGPT}, BOTH),
    "conversation": ({"conversation": CHAT}, BOTH),
    "as text": ({"messages": json.dumps(CHAT)}, BOTH),
    "request and response": ({"request": {"messages": CHAT[:4]}, "response": COMPLETION}, LAST),
    "batch": ({"request": {"body": {"messages": CHAT[:4]}}, "response": {"body": COMPLETION}}, LAST),
    "a log of requests": ({"messages": CHAT[:4], "response": "I can't help with that."}, LAST),
    "parts of an answer": ({"messages": CHAT[:4], "output": [{"type": "text", "text": LAST[0][1]}]}, LAST),
    "inspect_ai": ({"id": 1, "epoch": 1, "input": "Hello", "messages": CHAT, "output": COMPLETION}, BOTH),
    "OpenAI responses": ({"request": {"instructions": "Be brief.", "input": ITEMS}, "response": RESPONSE}, LAST),
    "OpenAI responses, of a text": ({"request": {"input": LAST[0][0]}, "response": {"body": RESPONSE}}, LAST),
    "OpenAI responses, flat": ({"input": ITEMS, "output": RESPONSE["output"]}, LAST),
    "prompt and answer": ({"prompt": LAST[0][0], "completion": LAST[0][1]}, LAST),
}


def read(path: Path, **names: str) -> list[tuple[str, str]]:
    found = list(read_turns(path, names.get("prompt", "prompt"), names.get("answer", "completion")))
    assert all(isinstance(one, LoggedTurn) for one in found), found
    return [(one.prompt, one.answer) for one in found if isinstance(one, LoggedTurn)]


@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".json"])
def test_an_entry_of_each_format(kind: str, ending: str, tmp_path: Path) -> None:
    entry, turns = ENTRIES[kind]
    path = tmp_path / f"log{ending}"
    text = json.dumps([entry, entry]) if ending == ".json" else f"{json.dumps(entry)}\n\n{json.dumps(entry)}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith(".gz") else text.encode())
    assert read(path) == [*turns, *turns]


def test_the_context_of_a_turn_is_what_came_before_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"messages": CHAT}))
    first, second = read_turns(path, "prompt", "completion")
    assert isinstance(first, LoggedTurn)
    assert first.messages == (("system", "Be brief."), ("user", "Hello"))
    assert isinstance(second, LoggedTurn)
    assert second.messages == tuple((one["role"], one["content"]) for one in CHAT[:4])
    assert (second.log, second.line) == ("log.jsonl", 1)


def test_the_instructions_of_a_response_are_its_system_prompt(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(ENTRIES["OpenAI responses"][0]))
    (turn,) = read_turns(tmp_path / "log.jsonl", "prompt", "completion")
    assert isinstance(turn, LoggedTurn)
    assert [role for role, _ in turn.messages] == ["system", "user", "assistant", "user"]
    assert turn.messages[0][1] == "Be brief."


def test_a_column_instructions_next_to_a_prompt_is_no_system_prompt(tmp_path: Path) -> None:
    """It may be what annotators were told."""
    (tmp_path / "log.jsonl").write_text(json.dumps({"instructions": "Rate it.", "prompt": "a", "completion": "b"}))
    (turn,) = read_turns(tmp_path / "log.jsonl", "prompt", "completion")
    assert isinstance(turn, LoggedTurn)
    assert turn.messages == (("user", "a"),)


def test_a_message_of_a_response_may_be_text(tmp_path: Path) -> None:
    entry = {"input": LAST[0][0], "output": [{"type": "message", "content": LAST[0][1]}]}
    (tmp_path / "log.jsonl").write_text(json.dumps(entry))
    assert read(tmp_path / "log.jsonl") == LAST


def test_a_refusal_in_a_response_is_its_answer(tmp_path: Path) -> None:
    content = [{"type": "refusal", "refusal": LAST[0][1]}]
    entry = {"request": {"input": LAST[0][0]}, "response": {"output": [{"type": "message", "content": content}]}}
    (tmp_path / "log.jsonl").write_text(json.dumps(entry))
    assert read(tmp_path / "log.jsonl") == LAST


def test_what_other_tools_call_input_is_not_taken_for_a_request(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps({"input": "a", "output": "b"}))
    ((_, reason),) = read_turns(tmp_path / "log.jsonl", "prompt", "completion")
    assert "no messages" in reason


def test_successive_messages_of_a_role_are_one_turn(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"messages": [CHAT[1], CHAT[3], CHAT[4], {"role": "assistant", "content": "Sorry."}]}))
    assert read(path) == [("Hello\n\nHow do I kill a process?", "I can't help with that.\n\nSorry.")]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"conversation": CHAT}] * 300), path)
    assert read(path) == BOTH * 300


def test_a_json_log_of_inspect(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(
        json.dumps({"version": 2, "samples": [{"messages": CHAT}, {"messages": CHAT[:4], "output": COMPLETION}]})
    )
    assert read(path) == [*BOTH, *LAST]


def test_a_long_json_list_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_values, "PIECE", 7)
    path = tmp_path / "log.json"
    path.write_text(json.dumps([{"messages": CHAT}] * 3, indent=1))
    assert read(path) == BOTH * 3


@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_a_json_file_of_one_object_per_line(piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_values, "PIECE", piece)
    path = tmp_path / "log.json"
    path.write_text("\n".join([*[json.dumps({"messages": CHAT})] * 2, "", json.dumps({"messages": CHAT}), "{"]))
    *turns, damaged = read_turns(path, "prompt", "response")
    assert [(turn.messages[-1][1], turn.answer) for turn in turns if isinstance(turn, LoggedTurn)] == BOTH * 3
    assert [turn.line for turn in turns if isinstance(turn, LoggedTurn)] == [1, 1, 2, 2, 4, 4]
    assert isinstance(damaged, tuple) and damaged[0] == 5


@pytest.mark.parametrize("answer", [{"choices": [{"text": BOTH[0][1]}]}, json.dumps({"choices": [{"text": "Hi."}]})])
def test_a_request_for_the_completion_of_a_text(answer: Any, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    request = {"model": "m", "prompt": BOTH[0][0], "max_tokens": 9}
    path.write_text(json.dumps({"request": request, "response": answer}))
    assert read(path) == BOTH[:1]


@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_what_follows_a_json_list_is_counted_instead_of_dropped(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_values, "PIECE", piece)
    path = tmp_path / "log.json"
    one = json.dumps([{"messages": CHAT}])
    path.write_text(f"{one}\n\n")
    assert read(path) == BOTH
    path.write_text(f"{one}\n{one}")  # two files, one put after the other
    *found, (number, why) = read_turns(path, "prompt", "completion")
    assert len(found) == len(BOTH)
    assert (number, why) == (2, "is after the end of the JSON list; write one entry per line")


def test_a_json_list_of_many_short_items_after_a_long_one(tmp_path: Path) -> None:
    """Cutting the text after each item would copy it 50,000 times."""
    path = tmp_path / "log.json"
    long = {"prompt": "a", "completion": "b" * 3_000_000}
    path.write_text(json.dumps([long, *[{"prompt": "c", "completion": "d"}] * 50_000]))
    begin = time.process_time()
    assert sum(isinstance(one, LoggedTurn) for one in read_turns(path, "prompt", "completion")) == 50_001
    assert time.process_time() - begin < 20


def test_logs_are_found_in_folders_and_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    for name in ("logs/b.jsonl.gz", "logs/deep/a.csv", "logs/notes.md"):
        (tmp_path / name).touch()
    assert [one.name for one in find_logs([tmp_path / "logs", tmp_path / "logs" / "b.jsonl.gz"])] == [
        "b.jsonl.gz",
        "a.csv",
    ]
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    wrong = {
        "logs/notes.md": "logs end in",
        "none": "no such file",
        "empty": "has no log",
        "pipe.jsonl": "not a regular",
    }
    for path, reason in wrong.items():
        with pytest.raises(InputError, match=reason):
            find_logs([tmp_path / path])
