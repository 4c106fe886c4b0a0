"""The next turn of a conversation runs only its new tokens, and its answer is that of the complete conversation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.random_edits import random_edits
from helpers.served_answers import answer_all, load

from prosafeprune.method.plan import Plan
from prosafeprune.prompts.conversation import Turn
from prosafeprune.serving import engine as engine_module
from prosafeprune.serving import kept_conversations
from prosafeprune.serving.corrections import Applied
from prosafeprune.serving.engine import Engine
from prosafeprune.serving.running_answer import Question
from prosafeprune.serving.served_edit import ServedEdit

FIRST: list[Turn] = [("user", "Name three rivers, and say why each of them matters to someone who lives there.")]


@pytest.fixture
def engine(checkpoint: Callable[..., Path]) -> Iterator[Engine]:
    running = Engine(load(checkpoint("llama")))
    running.loaded.end_ids = []
    yield running
    running.close()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Numbers of tokens that each prefill runs, by row."""
    seen: list[list[int]] = []
    prefill = engine_module.prefill

    def counted(loaded: Any, suffixes: Any, *more: Any) -> Any:
        seen.append([len(one) for one in suffixes])
        return prefill(loaded, suffixes, *more)

    monkeypatch.setattr(engine_module, "prefill", counted)
    return seen


@pytest.fixture
def edit(engine: Engine) -> ServedEdit:
    changes = [(o.submodule, o.change(o.submodule.weight())) for o in random_edits(engine.loaded.model, (1,), 1.0)]
    made = ServedEdit.of("pruned", Plan(layers=(1,), rank=3, strength=1.0), changes, engine.loaded)
    engine.corrections.prepare(made)
    return made


def say(engine: Engine, ids: tuple[int, ...], **settings: Any) -> list[int]:
    return answer_all(engine, [Question(ids, max_new_tokens=12, **settings)])[0][0]


def test_the_next_turn_runs_only_what_is_new(engine: Engine, ran: list[list[int]]) -> None:
    first = engine.encode(FIRST)
    answer = say(engine, first)
    second = (*first, *answer, *engine.encode([("user", "And a lake?")]))
    third = (*second, *say(engine, second), 5, 6, 7)
    found = say(engine, third)
    new = [len(first), len(second) - len(first) - 11, len(third) - len(second) - 11]  # the last token did not run
    assert ran == [[one] for one in new]
    other = Engine(engine.loaded)
    assert say(other, third) == found
    other.close()


def test_new_and_known_conversations_join_one_batch(engine: Engine, ran: list[list[int]]) -> None:
    first, others = engine.encode(FIRST), [engine.encode([("user", one)]) for one in ("Hi", "Name a lake.")]
    answer = say(engine, first)
    asked = [Question(one, max_new_tokens=12) for one in ((*first, *answer, 5), *others, (*first, *answer, 6))]
    ran.clear()
    with ThreadPoolExecutor(1) as pool:
        with engine.paused():  # so that they arrive together
            found = pool.submit(answer_all, engine, asked)
            while engine.load[1] < len(asked):
                time.sleep(0.01)
        answers = [ids for ids, _ in found.result()]
    assert sorted(map(len, ran)) == [1, 1, 2]
    other = Engine(engine.loaded)
    assert answers == [say(other, one.ids) for one in asked]
    other.close()


def test_nothing_is_taken_from_another_edit_or_strength(engine: Engine, edit: ServedEdit, ran: list[list[int]]) -> None:
    ids = engine.encode(FIRST)
    for strength in (None, 0.5, 0.6, 0.0, 0.5):
        say(engine, ids, applied=None if strength is None else Applied(edit, {1: strength}))
    assert ran == [[len(ids)], [len(ids)], [len(ids)], [1], [1]]  # strength 0 is the base model


def test_the_oldest_are_dropped_and_short_beginnings_not_used(
    engine: Engine, ran: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = engine.encode(FIRST)
    engine.kept._most_tokens = len(ids) + 20
    say(engine, ids)
    say(engine, engine.encode([("user", "Something else, of many words, to push out what was there before this one.")]))
    say(engine, ids)
    monkeypatch.setattr(kept_conversations, "WORTH_IT", len(ids))
    say(engine, ids)
    assert [one[0] for one in ran[2:]] == [len(ids)] * 2
