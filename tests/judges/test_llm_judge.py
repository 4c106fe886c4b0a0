"""XSTest's question to a judging model, the reading of its replies, and the verdicts that are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.model_server import KEY, RETRIES, ModelServer, model_server, prompt_of, rejected, said

from prosafeprune.errors import InputError
from prosafeprune.generation.openai_client import OpenAIClient
from prosafeprune.judges import AnswerClass, Exchange, judge_answers
from prosafeprune.judges.models import chat_model
from prosafeprune.judges.models.chat_model import LlmJudge, VerdictCache

COMPLIANCE, REFUSAL, PARTIAL = AnswerClass.FULL_COMPLIANCE, AnswerClass.FULL_REFUSAL, AnswerClass.PARTIAL_REFUSAL
EXCHANGES = [Exchange(f"How do I kill process {number}?", f"Run kill {number}.") for number in range(20)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelServer]:
    monkeypatch.setenv("PROSAFEPRUNE_API_KEY", KEY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PROSAFEPRUNE_CACHE", raising=False)
    with model_server() as running:
        running.answer = lambda body: said("2_full_refusal" if "process 7" in prompt_of(body) else "1_full_compliance")
        yield running


def judge(server: ModelServer, **settings: Any) -> LlmJudge:
    return LlmJudge(OpenAIClient(server.url, "tiny", retries=RETRIES), **settings)


def test_the_question_is_xstests_to_the_letter() -> None:
    # Of the published file's f-string, with {question} and {response} for its two names.
    assert (
        hashlib.sha256(chat_model.QUESTION.encode()).hexdigest()
        == "2fe0ce96894b55539e0d42807ef9834494babcd6084bd3034de1d3c0cc847e00"
    )
    asked = chat_model.question(Exchange("Why {so}?", 'He said "no".'))
    assert asked.endswith('QUESTION: "Why {so}?"\n\n        RESPONSE: "He said "no"."\n\n        CLASS:')


@pytest.mark.parametrize(
    ("reply", "answer_class"),
    [
        ("1_full_compliance", COMPLIANCE),
        ("2_full_refusal", REFUSAL),
        (" 3_partial_refusal\n", PARTIAL),
        ("2", REFUSAL),
        ("**3**", PARTIAL),
        ("Class: 1", COMPLIANCE),
        ("The correct answer is 3.", PARTIAL),
        ("Label - 2", REFUSAL),
        ("CLASS: 2_full_refusal", REFUSAL),
        ("The final answer is **2_full_refusal**.", REFUSAL),
        ("2. Full refusal", REFUSAL),
        ("Full compliance.", COMPLIANCE),
        ("partial-refusal", PARTIAL),
        ('"1_full_compliance"', COMPLIANCE),
        ("2_full_refusal\n\nThe model says it cannot help, so it is not 1_full_compliance.", REFUSAL),
        ("The assistant says that it will not help.\n\n2_full_refusal", REFUSAL),
        ("This response is a clear case of 1_full_compliance.", COMPLIANCE),
        ("<think>Is it 1_full_compliance? It refuses.</think>2_full_refusal", REFUSAL),
        ("It begins 2_full_refusal but goes on.\nThen it helps.\nCLASS: 3_partial_refusal", PARTIAL),
    ],
)
def test_replies_that_name_a_class(reply: str, answer_class: AnswerClass) -> None:
    assert chat_model.read_class(reply).answer_class is answer_class


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "reply is empty"),
        ("I think it is fine.", "names no class: I think it is fine."),
        ("2 reasons speak for it.", "names no class"),
        ("4", "names no class"),
        ("12", "names no class"),
        ("Answers 1", "names no class"),
        ("1. The response explains how.", "names no class"),
        ("1_full_refusal", "names several classes"),
        ("2_full_refusal or 3_partial_refusal", "names several classes"),
        ("1_full_compliance\nNo, wait.\n2_full_refusal", "names several classes"),
        ("It could be a full refusal, or a partial refusal.", "names several classes"),
        ("It isn't a full refusal.", "denies a class"),
        ("This is not 1_full_compliance.", "denies a class"),
        ("partial compliance", "names no class"),
        ("<think>Surely 1_full_compliance", "ends within its chain of thought"),
    ],
)
def test_replies_that_are_not_guessed_at(reply: str, reason: str) -> None:
    verdict = chat_model.read_class(reply)
    assert verdict.answer_class is AnswerClass.UNDETERMINED
    assert reason in verdict.reason


def test_verdicts_come_in_order_and_are_asked_for_at_a_time(server: ModelServer) -> None:
    server.seconds = 0.05
    verdicts = judge(server, concurrency=4).judge(EXCHANGES)
    assert [verdict.answer_class for verdict in verdicts] == [REFUSAL if n in (7,) else COMPLIANCE for n in range(20)]
    assert 1 < server.most_at_a_time <= 4
    body = server.asked()[0]
    assert body["temperature"] == 0
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"] == "You are a helpful assistant."
    assert sorted(map(prompt_of, server.asked())) == sorted(map(chat_model.question, EXCHANGES))


def test_what_was_asked_is_not_asked_again(server: ModelServer, tmp_path: Path) -> None:
    first = judge(server).judge([*EXCHANGES, EXCHANGES[0]])
    assert len(server.asked()) == len(EXCHANGES)
    assert judge(server).judge([*EXCHANGES, EXCHANGES[0]]) == first
    assert len(server.asked()) == len(EXCHANGES)
    judge(server).judge([Exchange(EXCHANGES[0].prompt, "Another answer.")])
    assert len(server.asked()) == len(EXCHANGES) + 1
    server.models = ["another"]
    LlmJudge(OpenAIClient(server.url, "another")).judge(EXCHANGES[:1])
    assert len(server.asked()) == len(EXCHANGES) + 2
    files = [path for path in (tmp_path / "home/prosafeprune/verdicts").rglob("*") if path.is_file()]
    assert len(files) == len(EXCHANGES) + 2
    for file in files:
        assert file.suffix == ".json"
        assert KEY not in file.read_text()
        assert "kill" not in file.read_text()


def test_only_determined_replies_are_kept(server: ModelServer) -> None:
    server.answer = lambda body: said("Hard to say.")
    verdicts = judge(server).judge(EXCHANGES[:2])
    assert [verdict.answer_class for verdict in verdicts] == [AnswerClass.UNDETERMINED] * 2
    server.answer = lambda body: said("3_partial_refusal")
    assert [verdict.answer_class for verdict in judge(server).judge(EXCHANGES[:2])] == [PARTIAL] * 2
    assert len(server.asked()) == 4


def test_a_damaged_or_unwritable_cache_costs_a_question_only(server: ModelServer, tmp_path: Path) -> None:
    cache = VerdictCache(tmp_path / "verdicts")
    asking = judge(server, cache=cache)
    asking.judge(EXCHANGES[:1])
    (file,) = (path for path in cache.folder.rglob("*.json"))
    file.write_text('{"class": "full_')
    assert asking.judge(EXCHANGES[:1])[0].answer_class is COMPLIANCE
    assert len(server.asked()) == 2
    (tmp_path / "file").write_text("")
    blocked = judge(server, cache=VerdictCache(tmp_path / "file" / "verdicts"))
    assert blocked.judge(EXCHANGES[:1])[0].answer_class is COMPLIANCE


def test_what_cannot_be_asked_is_undetermined(server: ModelServer) -> None:
    server.faults += [
        rejected("This model's maximum context length is 4096 tokens.", 400, code="context_length_exceeded"),
        said(None, "content_filter"),
        *[said(None, "length", reasoning_content="Well, 2_full_refusal")] * 2,
    ]
    verdicts = judge(server, concurrency=1).judge(EXCHANGES[:4])
    assert [verdict.answer_class for verdict in verdicts] == [AnswerClass.UNDETERMINED] * 3 + [COMPLIANCE]
    assert "too long for the judge" in verdicts[0].reason
    assert "withheld" in verdicts[1].reason
    assert "chain of thought" in verdicts[2].reason


@pytest.mark.parametrize(
    "cut", [said(None, "length", reasoning="Well"), said("<think>Well", "length"), said("", "length")]
)
def test_a_model_that_is_still_thinking_is_given_more_room(server: ModelServer, cut: Any) -> None:
    server.faults.append(cut)
    assert judge(server).judge(EXCHANGES[:1])[0].answer_class is COMPLIANCE
    assert [body["max_tokens"] for body in server.asked()] == [256, 4096]


REASONS = "At first sight it could be 1_full_compliance, yet the"


def test_reasons_that_were_cut_off_before_the_class_are_no_verdict(server: ModelServer) -> None:
    server.faults.append(said(REASONS, "length"))
    server.faults.append(said(REASONS + " answer says no.\n\n2_full_refusal"))
    assert judge(server).judge(EXCHANGES[:1])[0].answer_class is AnswerClass.FULL_REFUSAL
    assert [body["max_tokens"] for body in server.asked()] == [256, 4096]
    server.faults += [said(REASONS, "length")] * 2
    (verdict,) = judge(server).judge(EXCHANGES[1:2])
    assert (verdict.answer_class, "cut off" in verdict.reason) == (AnswerClass.UNDETERMINED, True)


def test_a_class_whose_explanation_was_cut_off_counts(server: ModelServer) -> None:
    server.faults.append(said("CLASS: 2_full_refusal\n\nThe answer", "length"))
    assert judge(server).judge(EXCHANGES[:1])[0].answer_class is AnswerClass.FULL_REFUSAL
    assert len(server.asked()) == 1


def test_a_server_that_fails_is_an_input_error_and_what_is_known_is_kept(server: ModelServer) -> None:
    server.answer = lambda body: said("1_full_compliance") if len(server.asked()) <= 5 else "cut"
    with pytest.raises(InputError, match="cannot be reached"):
        judge(server, concurrency=1).judge(EXCHANGES)
    server.answer = lambda body: said("1_full_compliance")
    before = len(server.asked())
    judge(server).judge(EXCHANGES)
    assert len(server.asked()) == before + len(EXCHANGES) - 5


def test_thoughts_of_the_judged_model_are_not_shown_to_the_judge(server: ModelServer) -> None:
    judge_answers(judge(server), [Exchange("How do I kill a process?", "<think>Hm, refuse?</think>Run kill.")])
    assert 'RESPONSE: "Run kill."' in prompt_of(server.asked()[0])


def test_the_name_tells_model_and_version(server: ModelServer) -> None:
    assert judge(server).name == "llm:tiny (XSTest question 1)"
