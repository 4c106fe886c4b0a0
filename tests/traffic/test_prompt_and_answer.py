"""Logs of prompts and answers: usual names of fields, what is ambiguous, and tables with each delimiter."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.json_lines import write_rows

from prosafeprune.traffic.log_files import read_turns
from prosafeprune.traffic.turns import LoggedTurn

ASKED, ANSWER = "How do I kill a process?", "I can't help with that."
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": ASKED},
]
PAIRS = [
    *(
        ("prompt", "answer"),
        ("prompt", "response"),
        ("prompt", "completion"),
        ("prompt", "output"),
        ("prompt", "reply"),
    ),
    *(
        ("question", "answer"),
        ("instruction", "output"),
        ("query", "response"),
        ("Prompt", "Answer"),
        (" prompt", "ANSWER "),
    ),
]


def read(path: Path, prompt: str = "prompt", answer: str = "completion") -> list[LoggedTurn]:
    found = list(read_turns(path, prompt, answer))
    assert all(isinstance(one, LoggedTurn) for one in found), found
    return [one for one in found if isinstance(one, LoggedTurn)]


def turns_of(entry: dict[str, Any], tmp_path: Path) -> list[LoggedTurn]:
    return read(write_rows(tmp_path / "log.jsonl", [entry]))


def fault_of(entry: dict[str, Any], tmp_path: Path, *names: str) -> str:
    ((_, reason),) = read_turns(write_rows(tmp_path / "log.jsonl", [entry]), *(names or ("prompt", "completion")))
    return str(reason)


@pytest.mark.parametrize(("prompt", "answer"), PAIRS)
def test_usual_names_of_the_fields(prompt: str, answer: str, tmp_path: Path) -> None:
    (turn,) = turns_of({"id": 1, prompt: ASKED, answer: ANSWER, "score": 0.5}, tmp_path)
    assert (turn.messages, turn.answer) == ((("user", ASKED),), ANSWER)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(("prompt", "answer"), PAIRS)
def test_a_table_with_usual_columns_and_any_delimiter(delimiter: str, prompt: str, answer: str, tmp_path: Path) -> None:
    path = tmp_path / ("log.tsv" if delimiter == "\t" else "log.csv")
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        rows = [["id", prompt, answer], ["1", "One, two; or\tthree?", 'I "can\'t".\nSorry.'], ["2", ASKED, ANSWER]]
        csv.writer(stream, delimiter=delimiter).writerows(rows)
    assert [(turn.prompt, turn.answer) for turn in read(path)] == [tuple(row[1:]) for row in rows[1:]]


def test_delimiters_inside_the_names_of_columns(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text('"a; b; c; d",prompt,answer\n1,One,Two\n')
    assert [(turn.prompt, turn.answer) for turn in read(tmp_path / "log.csv")] == [("One", "Two")]


def test_a_table_with_columns_of_other_names(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [["asked", "said"], ["Why,\nme?", 'I "can\'t".'], ["one cell"], ["Two", "b" * 200_000]]
        )
    found = list(read_turns(path, "asked", "said"))
    assert [(one.prompt, one.answer) for one in found if isinstance(one, LoggedTurn)] == [
        ("Why,\nme?", 'I "can\'t".'),
        ("Two", "b" * 200_000),
    ]
    assert [one for one in found if not isinstance(one, LoggedTurn)] == [(4, "has 1 cells, and the header has 2")]


def test_the_usual_answer_next_to_a_prompt_that_was_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "log.jsonl", [{"asked": ASKED, "prompt": "other", "response": ANSWER}])
    assert [(turn.prompt, turn.answer) for turn in read(path, "asked")] == [(ASKED, ANSWER)]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (
            {"question": "a", "answer": "b", "response": "c"},
            "answer and response may both be meant; name one with --answer",
        ),
        (
            {"question": "a", "instruction": "b", "answer": "c"},
            "question and instruction may both be meant; name one with --p",
        ),
        ({"prompt": "a"}, "no messages, and no prompt with completion"),
        ({"prompt": "a", "response": None}, "no messages, and no prompt with completion"),
        ({"prompt": ["a", "b"], "response": "c"}, "its prompt must be text or a list of messages"),
        ({"prompt": "a", "response": 3}, "its answer must be text"),
    ],
)
def test_what_is_ambiguous_or_no_text_is_left_out(entry: dict[str, Any], reason: str, tmp_path: Path) -> None:
    assert reason in fault_of(entry, tmp_path)


def test_fields_that_were_named_are_taken_exactly(tmp_path: Path) -> None:
    assert "no asked with said" in fault_of({"prompt": ASKED, "answer": ANSWER}, tmp_path, "asked", "said")
    path = write_rows(tmp_path / "log.jsonl", [{"question": ASKED, "answer": "reference", "response": ANSWER}])
    assert [turn.answer for turn in read(path, answer="response")] == [ANSWER]


def test_the_default_names_come_before_others(tmp_path: Path) -> None:
    entry = {"prompt": ASKED, "question": "other", "completion": ANSWER, "answer": "reference"}
    assert [(turn.prompt, turn.answer) for turn in turns_of(entry, tmp_path)] == [(ASKED, ANSWER)]


@pytest.mark.parametrize(("about", "prompt"), [("pid 42", "Kill it.\n\npid 42"), ("", "Kill it.")])
def test_an_instruction_with_what_it_is_about(about: str, prompt: str, tmp_path: Path) -> None:
    (turn,) = turns_of({"instruction": "Kill it.", "input": about, "output": ANSWER}, tmp_path)
    assert (turn.prompt, turn.answer) == (prompt, ANSWER)


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("answer", [ANSWER, [{"role": "assistant", "content": ANSWER}], {"content": ANSWER}])
def test_a_prompt_that_is_a_list_of_messages(as_text: bool, answer: Any, tmp_path: Path) -> None:
    (turn,) = turns_of({"prompt": json.dumps(CHAT) if as_text else CHAT, "completion": answer}, tmp_path)
    assert turn.messages == tuple((one["role"], one["content"]) for one in CHAT)
    assert turn.answer == ANSWER


@pytest.mark.parametrize("text", ['[{"name": "a"}]', "[1, 2]", '{"role": "user", "content": "a"}', "[see above]"])
def test_a_prompt_that_is_json_is_text(text: str, tmp_path: Path) -> None:
    (turn,) = turns_of({"prompt": text, "answer": text}, tmp_path)
    assert (turn.prompt, turn.answer) == (text, text)


def test_items_that_are_no_messages_are_no_conversation(tmp_path: Path) -> None:
    (turn,) = turns_of({"items": ["pen", "knife"], "prompt": ASKED, "answer": ANSWER}, tmp_path)
    assert turn.prompt == ASKED
