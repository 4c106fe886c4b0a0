"""What judges get of a logged turn: the complete conversation, masked, in lists that are bounded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.fixture_types import Run
from helpers.json_lines import read_rows, write_rows

import prosafeprune
from prosafeprune.jobs import mine_prompts
from prosafeprune.judges.verdict import AnswerClass, Exchange, Verdict
from prosafeprune.prompts.conversation import turns_of
from prosafeprune.traffic.masked_turns import Masking
from prosafeprune.traffic.personal_data import mask
from prosafeprune.traffic.turns import LoggedTurn

SYSTEM = {"role": "system", "content": "Discuss only banking. Mail eva@example.com."}
CHAT = [
    SYSTEM,
    {"role": "user", "content": "Hello, I am bob@example.com"},
    {"role": "assistant", "content": "Hello bob@example.com"},
    {"role": "user", "content": "Tell me more"},
    {"role": "assistant", "content": "I only discuss banking."},
]


class Recorder:
    """A judge that keeps what it was asked."""

    name = "recorder"

    def __init__(self) -> None:
        self.asked: list[list[Exchange]] = []

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        self.asked.append(list(exchanges))
        return [Verdict(AnswerClass.FULL_REFUSAL, "")] * len(exchanges)


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(mine_prompts, "make_judge", lambda *_: made)
    return made


def mined(tmp_path: Path, entries: Sequence[dict[str, Any]], **settings: Any) -> Path:
    log = write_rows(tmp_path / "log.jsonl", entries)
    prosafeprune.mine_prompts(log, tmp_path / "mined", progress=False, **settings)
    return tmp_path / "mined"


def test_a_judge_gets_the_complete_conversation_without_personal_data(tmp_path: Path, judge: Recorder) -> None:
    mined(tmp_path, [{"messages": CHAT}])
    [[_, exchange]] = judge.asked
    assert exchange.answer == "I only discuss banking."
    assert turns_of(exchange.prompt) == (
        ("system", "Discuss only banking. Mail [EMAIL]."),
        ("user", "Hello, I am [EMAIL]"),
        ("assistant", "Hello [EMAIL]"),
        ("user", "Tell me more"),
    )


def test_a_single_request_is_judged_as_plain_text(tmp_path: Path, judge: Recorder) -> None:
    mined(tmp_path, [{"prompt": "Tell me more", "completion": "No."}])
    assert judge.asked == [[Exchange("Tell me more", "No.")]]


def test_personal_data_that_is_kept_is_judged(tmp_path: Path, judge: Recorder) -> None:
    mined(tmp_path, [{"messages": CHAT}], keep_personal=True)
    assert "bob@example.com" in judge.asked[0][1].prompt


def test_turns_with_long_conversations_are_judged_in_shorter_lists(
    tmp_path: Path, judge: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mine_prompts, "CHUNK_CHARACTERS", 5000)
    entry = {"messages": [{"role": "system", "content": "a b " * 500}, *CHAT[1:]]}
    folder = mined(tmp_path, [entry] * 4)
    assert [len(chunk) for chunk in judge.asked] == [3, 3, 2]
    assert sum(row["times"] for row in read_rows(folder / "candidates.jsonl")) == 8


def test_an_answer_that_limits_its_subject_is_a_refusal_under_a_system_prompt(tmp_path: Path, run: Run) -> None:
    """The built-in judge looks at the system prompt, as it does when answers are measured."""
    said = [{"role": "user", "content": "Who won?"}, {"role": "assistant", "content": "I can only help with banking."}]
    log = write_rows(tmp_path / "log.jsonl", [{"messages": [SYSTEM, *said]}])
    run.ok("prompts", "mine", log, "-o", tmp_path / "mined")
    (row,) = read_rows(tmp_path / "mined" / "candidates.jsonl")
    assert row["messages"][0]["content"] == "Discuss only banking. Mail [EMAIL]."


def test_the_messages_of_a_conversation_are_masked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr("prosafeprune.traffic.masked_turns.mask", lambda text: (masked.append(text), mask(text))[1])
    said = [("user" if number % 2 == 0 else "assistant", f"a{number}@example.com") for number in range(40)]
    masking = Masking()
    for end in range(1, 40, 2):
        turn = LoggedTurn(tuple(said[:end]), said[end][1])  # type: ignore[arg-type]
        found, kinds = masking.of(turn)
        assert {text for _, text in found.messages} == {"[EMAIL]"}
        assert kinds == {"EMAIL": 2}
    assert len(masked) == 40
