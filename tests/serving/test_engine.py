"""The engine: conversations join and leave the batch while others go on, and none changes another's answer."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.served_answers import PROMPTS, answer_all, decoded, load, question

from prosafeprune.errors import InputError, ProSafePruneError
from prosafeprune.generation import Decoding, LocalGenerator
from prosafeprune.serving import engine as engine_module
from prosafeprune.serving.engine import Engine, EngineBusyError
from prosafeprune.serving.running_answer import Piece, Question, nucleus

LONG = 400


@pytest.fixture(params=["llama", "gemma3"])  # one whose cache can be joined, and one with sliding windows
def engine(request: pytest.FixtureRequest, checkpoint: Callable[..., Path]) -> Iterator[Engine]:
    running = Engine(load(checkpoint(request.param)))
    running.loaded.end_ids = []  # answers end at the limit
    yield running
    running.close()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_question_joins_a_running_answer_and_changes_neither(engine: Engine) -> None:
    pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    first = engine.start(question(engine, PROMPTS[2], max_new_tokens=40), pieces.put)
    wait_for(lambda: len(first.stream.ids) > 3)
    [(second, _)] = answer_all(engine, [question(engine, PROMPTS[0])])
    wait_for(lambda: len(first.stream.ids) == 40)
    engine.close()
    assert second == decoded(engine.loaded)[0]
    assert first.stream.ids == decoded(engine.loaded, [PROMPTS[2]], 40)[0]


@pytest.mark.long
def test_fifty_at_once(engine: Engine) -> None:
    found = answer_all(engine, [question(engine, PROMPTS[i % 3]) for i in range(50)])
    assert [ids for ids, _ in found] == [decoded(engine.loaded)[i % 3] for i in range(50)]
    assert engine.load == (0, 0)


def test_who_hangs_up_frees_the_row(engine: Engine) -> None:
    stream = engine.stream(question(engine, PROMPTS[0], max_new_tokens=LONG))
    next(stream)
    assert engine.load == (1, 0)
    stream.close()
    wait_for(lambda: engine.load == (0, 0))
    assert len(answer_all(engine, [question(engine, PROMPTS[1])])[0][0]) > 0


def test_sampled_answers_are_those_of_the_local_generator(engine: Engine) -> None:
    wanted = dict(LocalGenerator(engine.loaded).answer(PROMPTS, Decoding(max_new_tokens=8, temperature=0.9, seed=3)))
    asked = [question(engine, one, max_new_tokens=8, temperature=0.9, seed=f"3 {one}") for one in PROMPTS]
    found = ["".join(piece.text for piece in pieces) for _, pieces in answer_all(engine, asked)]
    assert found == [wanted[i].text for i in range(3)]
    other = answer_all(engine, [question(engine, PROMPTS[0], max_new_tokens=8, temperature=0.9, seed="4")])
    assert "".join(piece.text for piece in other[0][1]) != found[0]


def test_stop_strings_end_the_answer(engine: Engine) -> None:
    sampled = {"temperature": 2.0, "seed": "0", "max_new_tokens": 40}  # random bytes
    [(ids, pieces)] = answer_all(engine, [question(engine, PROMPTS[0], **sampled)])
    text = "".join(piece.text for piece in pieces)
    stop = [one for one in text if one.isascii() and one.isprintable()][1]
    [(shorter, pieces)] = answer_all(engine, [question(engine, PROMPTS[0], stop=(stop,), **sampled)])
    assert "".join(piece.text for piece in pieces) == text[: text.index(stop)].strip()
    assert pieces[-1].finish == "stop"
    assert len(shorter) < len(ids)


def test_a_failure_ends_its_answers_and_not_the_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "prefill", lambda *_: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(EngineBusyError, match="Out of memory"):
            list(engine.stream(question(engine, PROMPTS[0])))
        patch.setattr(engine_module, "prefill", lambda *_: (_ for _ in ()).throw(ValueError("odd")))
        with pytest.raises(ProSafePruneError, match="ValueError: odd"):
            list(engine.stream(question(engine, PROMPTS[0])))
    [(ids, _)] = answer_all(engine, [question(engine, PROMPTS[0])])
    assert ids == decoded(engine.loaded)[0]


def test_logits_that_are_nan_are_an_error_and_no_answer(engine: Engine) -> None:
    weight = engine.loaded.model.get_output_embeddings().weight
    for temperature in (0.0, 1.0):
        with engine.paused(), torch.no_grad():
            before = weight[5].clone()
            weight[5] = float("nan")
        with pytest.raises(ProSafePruneError, match="logits are NaN") as failed:
            list(engine.stream(question(engine, PROMPTS[0], temperature=temperature)))
        assert not isinstance(failed.value, InputError)  # the request is not at fault
        with engine.paused(), torch.no_grad():
            weight[5] = before
    [(ids, _)] = answer_all(engine, [question(engine, PROMPTS[0])])
    assert ids == decoded(engine.loaded)[0]


def test_a_failure_while_joining_ends_the_running_answers_too(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(load(checkpoint("llama")))
    engine.loaded.end_ids = []
    try:
        stream = engine.stream(question(engine, PROMPTS[0], max_new_tokens=LONG))
        next(stream)
        with monkeypatch.context() as patch:
            patch.setattr(engine_module, "join", lambda *_: (_ for _ in ()).throw(MemoryError()))
            with pytest.raises(EngineBusyError, match="Out of memory"):
                list(engine.stream(question(engine, PROMPTS[1])))
        with pytest.raises(EngineBusyError, match="Out of memory"):
            list(stream)
        wait_for(lambda: engine.load == (0, 0))
        [(ids, _)] = answer_all(engine, [question(engine, PROMPTS[0])])
    finally:
        engine.close()
    assert ids == decoded(engine.loaded)[0]


def test_questions_that_cannot_be_answered_are_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="positions"):
        engine.start(question(engine, "a" * 3000), lambda piece: None)
    for turns in ([], [("user", " ")], [("user", "Hi"), ("assistant", "Hello")]):
        with pytest.raises(InputError, match="must end with words of the user"):
            engine.encode(turns)
    monkeypatch.setattr(engine_module, "MOST_WAITING", 0)
    with pytest.raises(EngineBusyError):
        engine.start(question(engine, "Hi"), lambda piece: None)


def test_other_work_gets_the_model_between_two_tokens(engine: Engine) -> None:
    stream = engine.stream(question(engine, PROMPTS[0], max_new_tokens=LONG))
    next(stream)
    with engine.paused() as loaded:
        before = engine.load
        assert decoded(loaded, ["Hi"], 3)
        assert engine.load == before == (1, 0)
    stream.close()


def test_the_probe_reads_the_mean_state_of_the_first_tokens(engine: Engine) -> None:
    seen: list[torch.Tensor] = []

    def probe(state: torch.Tensor) -> float:
        seen.append(state)
        return len(seen) / 10

    engine.probe = probe
    [(_, pieces)] = answer_all(engine, [question(engine, PROMPTS[0])])
    assert len(seen) == 4
    assert pieces[-1].refusal == 0.4
    assert {piece.refusal for piece in pieces} >= {None, 0.1, 0.2, 0.3}


def test_padding_of_answers_that_left_is_dropped(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "TRIMMED", 1)
    engine = Engine(load(checkpoint("llama")))
    engine.loaded.end_ids = []
    try:
        asked = [question(engine, PROMPTS[2], max_new_tokens=3), question(engine, PROMPTS[1], max_new_tokens=20)]
        (_, (ids, _)) = answer_all(engine, asked)
    finally:
        engine.close()
    assert ids == decoded(engine.loaded, [PROMPTS[1]], 20)[0]


def test_nucleus_keeps_the_most_likely_tokens() -> None:
    logits = torch.tensor([0.1, 0.6, 0.3]).log()
    assert nucleus(logits, 1.0, 0.5).isfinite().tolist() == [False, True, False]
    assert nucleus(logits, 1.0, 0.7).isfinite().tolist() == [False, True, True]
    assert nucleus(logits, 1.0, 0.0).isfinite().tolist() == [False, True, False]
    assert Question((1,)).top_p == 1.0
