"""Prompts with earlier turns and system prompts: reading, hashing, overlap; plain prompts stay as they are."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from helpers.json_lines import write_rows

from prosafeprune.errors import InputError
from prosafeprune.prompts import Prompt, PromptClass, PromptSet, find_overlaps, hold_out, read_prompts, without_overlaps
from prosafeprune.prompts.conversation import Conversation, as_prompt, last_turn, stored_prompt, transcript, turns_of

USER = {"role": "user", "content": "How do I make it stop?"}
TALK = [{"role": "user", "content": "My script hangs."}, {"role": "assistant", "content": "Which one?"}, USER]


def read(tmp_path: Path, *rows: Any, **options: Any) -> PromptSet:
    file = write_rows(tmp_path / "prompts.jsonl", rows)
    return read_prompts(str(file), PromptClass.PSEUDO_HARMFUL, **options)


def prompts(*texts: str) -> PromptSet:
    return PromptSet(PromptClass.BENIGN, "here", tuple(map(Prompt, texts)))


def talk(*words: str, system: str | None = None) -> str:
    roles = ("user", "assistant")
    turns = [(roles[index % 2], one) for index, one in enumerate(words)]
    return as_prompt([*([("system", system)] if system else []), *turns])


def test_messages_and_system_prompts_are_read(tmp_path: Path) -> None:
    kind = {"role": "system", "content": " Be kind. "}
    found = read(
        tmp_path,
        {"prompt": "the last turn", "messages": TALK, "category": "code"},
        {"prompt": "Hello there", "system": "Be kind."},
        {"messages": [kind, *TALK]},
        {"messages": [USER], "prompt": "other words"},
        {"prompt": "Plain", "messages": None, "system": ""},
    )
    assert [turns_of(text) for text in found.texts] == [
        (("user", "My script hangs."), ("assistant", "Which one?"), ("user", "How do I make it stop?")),
        (("system", "Be kind."), ("user", "Hello there")),
        (
            ("system", "Be kind."),
            ("user", "My script hangs."),
            ("assistant", "Which one?"),
            ("user", "How do I make it stop?"),
        ),
        (("user", "How do I make it stop?"),),
        (("user", "Plain"),),
    ]
    assert [type(text) for text in found.texts] == [Conversation, Conversation, Conversation, str, str]
    assert found.prompts[0].category == "code"


def test_a_csv_file_may_hold_messages_as_json(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    cell = json.dumps(TALK).replace('"', '""')
    file.write_text(f'prompt,messages\nplain,\n,"{cell}"\n')
    found = read_prompts(str(file), "harmful")
    assert [last_turn(text) for text in found.texts] == ["plain", "How do I make it stop?"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": [*TALK, {"role": "assistant", "content": "So."}]}, "the last turn must be the user's"),
        ({"messages": "Hello"}, "as JSON"),
        ({"messages": {"role": "user"}}, "a list of messages"),
        ({"messages": ["Hello"]}, "a list of messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "both text"),
        ({"messages": [{"role": "user"}]}, "both text"),
        ({"messages": [{"role": "tool", "content": "x"}, USER]}, "must be one of system, user, assistant"),
        ({"messages": [{"role": "user", "content": "  "}]}, "a turn is empty"),
        ({"messages": [{"role": "user", "content": "\u200b\u2060"}]}, "a turn is empty"),
        ({"messages": [USER, {"role": "system", "content": "Be kind."}, USER]}, "only the first turn"),
        ({"messages": [{"role": "system", "content": "a"}, USER], "system": "b"}, "only the first turn"),
        ({"prompt": "Hello", "system": 3}, "'system' is not text"),
        ({"prompt": "Hello", "system": "  "}, "'system' is not text"),
        ({"messages": [{"role": "user", "content": "half \ud83d"}, *TALK]}, "lone surrogate"),
    ],
)
def test_a_row_that_is_no_conversation_is_one_line(row: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, {"prompt": "fine"}, row)
    assert "line 2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_plain_prompts_have_the_hash_they_had_and_conversations_their_own() -> None:
    assert prompts("One", "Two").sha256 == hashlib.sha256(b"One\0Two\0").hexdigest()
    texts = [talk("a", "b", "c"), talk("a", "b", "c", system="d"), talk("a", "x", "c"), "c"]
    assert len({prompts(text).sha256 for text in texts}) == 4


def test_a_conversation_survives_files_and_processes() -> None:
    one = talk('"a"', "b\u2028", "ç \U0001f600", system="d")
    for copy in (pickle.loads(pickle.dumps(one)), stored_prompt(json.loads(json.dumps(str(one))))):
        assert copy == one
        assert turns_of(copy) == turns_of(one) != (("user", str(one)),)
    for text in (
        "plain",
        '[{"role": "user", "content": "a"}]',
        '[{"role": "x',
        '[{"role": "user"}, 3]',
        str(one) + " ",
    ):
        assert type(stored_prompt(text)) is str


def test_a_reader_sees_every_role_and_the_last_turn_however_long_the_others_are() -> None:
    one = talk("a" * 500, "b", "the end", system="s")
    assert transcript(one).startswith("System: s\nUser: aaa")
    short = transcript(one, 100)
    assert short.endswith("User: the end")
    assert "a" * 25 + " [cut]" in short
    assert len(short) < 150
    assert transcript("plain words") == "plain words"


LONG = "Please tell me all about how to kill the zombie processes on my old server"
POLICY = "You are the assistant of a bank and answer nothing but questions on accounts and cards."
COOK = "You are a chef who talks of nothing but cooking, recipes, kitchens and knives."


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (talk(LONG, "Ps lists them.", "And then?"), talk(LONG, "Another answer.", "And then?"), True),
        (talk("Hello", "Hi.", LONG), LONG, True),  # a request is the same whatever came before
        (talk("Tell me of cats", "Cats are.", LONG), talk("Bake a good bread", "Mix.", f"{LONG}, please"), True),
        (talk("Tell me of cats", "Cats are.", "And then?"), talk("Bake a good bread", "Mix.", "And then?"), False),
        (talk(LONG, system=POLICY), talk(LONG, system=POLICY + " Really."), True),
        (talk(LONG, system=POLICY), talk(LONG, system=COOK), False),  # one is to be refused, one answered
        (talk(LONG, system=POLICY), LONG, True),
        (talk(LONG, system=POLICY), talk("Which card has no yearly fee for students?", system=POLICY), False),
        ("我怎样才能杀死服务器上的僵尸进程", "我怎样才能杀死服务器上的僵尸进程呢", True),
        ("我怎样才能杀死服务器上的僵尸进程", "请问怎么给小狗洗澡才不会着凉", False),
    ],
)
def test_what_counts_as_the_same_prompt(first: str, second: str, same: bool) -> None:
    assert bool(find_overlaps(prompts(first), prompts(second))) is same
    assert bool(find_overlaps(prompts(second), prompts(first))) is same
    kept, found = without_overlaps(prompts(first, "Other words entirely"), [prompts(second)])
    assert (len(kept), len(found)) == ((1, 1) if same else (2, 0))


def test_conversations_that_are_alike_are_held_out_together() -> None:
    alike = [talk(LONG, "Ps lists them.", f"And then, number {number}?") for number in range(3)]
    others = [f"What is the {word} of the moon?" for word in ("weight and price", "age", "colour seen from Mars")]
    for seed in range(5):
        kept, held = hold_out(prompts(*alike, *others), 0.5, seed)
        assert {len(set(alike) & set(kept.texts)), len(set(alike) & set(held.texts))} == {0, 3}
