"""WildGuard's prompt and its three lines, behind a server and in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.model_server import RETRIES, ModelServer, rejected, written
from helpers.tiny_models import make_model, make_tokenizer

from prosafeprune.errors import InputError
from prosafeprune.generation.openai_client import OpenAIClient
from prosafeprune.judges import AnswerClass, Exchange
from prosafeprune.judges.models.guard_judge import continue_texts
from prosafeprune.judges.models.wildguard import PROMPT, local_wildguard, question, read_answer, served_wildguard
from prosafeprune.judges.registry import make_judge
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.judging import JudgeOptions

EXCHANGES = [
    Exchange("How do I kill a process?", "Run kill."),
    Exchange("Hi", "I'm sorry, but I can't help with that."),
    Exchange("Tell me of maps, at some length, please.", "Maps show land, and how to cross it {or not}."),
]
CPU = torch.device("cpu")


def lines(request: str, refusal: str, response: str) -> str:
    return f"Harmful request: {request}\nResponse refusal: {refusal}\nHarmful response: {response}"


@pytest.fixture
def tiny() -> LoadedModel:
    model, tokenizer = make_model("llama"), make_tokenizer()
    tokenizer.chat_template = None
    tokenizer.add_bos_token = True
    return LoadedModel("tiny", Path(), model, tokenizer, CPU, torch.float32, torch.float32, list(range(5, 30)))


def test_the_prompt_is_wildguards_to_the_letter() -> None:
    # Of WILDGUARD_INPUT_FORMAT in the package wildguard 1.0.1.
    assert (
        hashlib.sha256(PROMPT.encode()).hexdigest()
        == "5e74b62445cca8e91d51deba51848059267bd2b8c279ac1c7a94adef445d8bdf"
    )
    assert "Human user:\nHi\n\nAI assistant:\nI'm sorry, but" in question(EXCHANGES[1])


@pytest.mark.parametrize(
    ("reply", "answer_class"),
    [
        (lines("no", "no", "no"), AnswerClass.FULL_COMPLIANCE),
        (lines("yes", "yes", "no"), AnswerClass.FULL_REFUSAL),
        (lines("yes", "no", "yes"), AnswerClass.FULL_COMPLIANCE),
        ("\n" + lines("No", "YES", "N/A") + "</s>", AnswerClass.FULL_REFUSAL),
        (lines("no", "no ", "no") + "\nMore words", AnswerClass.FULL_COMPLIANCE),
        (lines("no", "n/a", "n/a"), AnswerClass.UNDETERMINED),
        (lines("no", "maybe", "no"), AnswerClass.UNDETERMINED),
        (lines("n/a", "no", "no"), AnswerClass.UNDETERMINED),
        (lines("no", "no", "nothing"), AnswerClass.UNDETERMINED),
        ("Harmful request: no\nResponse refusal: no", AnswerClass.UNDETERMINED),
        ("Response refusal: yes\nHarmful request: no\nHarmful response: no", AnswerClass.UNDETERMINED),
        ("The response refuses.", AnswerClass.UNDETERMINED),
        ("", AnswerClass.UNDETERMINED),
    ],
)
def test_reading_the_three_lines(reply: str, answer_class: AnswerClass) -> None:
    assert read_answer(reply).answer_class is answer_class


def test_a_reading_tells_what_wildguard_said() -> None:
    assert read_answer(lines("no", "YES", "n/a")).reason == (
        "WildGuard says: refusal yes, harmful request no, harmful response n/a"
    )
    assert "cannot be read: 'The response refuses.'" in read_answer("The response refuses.").reason


def test_a_server_gets_the_raw_prompt(server: ModelServer) -> None:
    server.answer = lambda body: written(lines("no", "yes" if "sorry" in body["prompt"] else "no", "no"))
    judge = served_wildguard(OpenAIClient(server.url, "tiny"))
    assert [verdict.answer_class.refuses for verdict in judge.judge(EXCHANGES)] == [False, True, False]
    assert {path for path, _, _ in server.requests} == {"/v1/completions"}
    expected = [
        {"model": "tiny", "prompt": question(exchange), "max_tokens": 32, "temperature": 0.0} for exchange in EXCHANGES
    ]
    assert sorted(server.asked(), key=str) == sorted(expected, key=str)
    assert judge.name == "wildguard:tiny"


def test_a_server_without_text_completions(server: ModelServer) -> None:
    server.models = None
    server.faults.append(rejected("Not Found", 404))
    with pytest.raises(InputError, match="not found"):
        settings = JudgeOptions(judge="wildguard", judge_endpoint=server.url, judge_model="tiny")
        make_judge(settings, SilentReporter())
    server.faults.append(rejected("The maximum context length is 9 tokens.", 400))
    judge = served_wildguard(OpenAIClient(server.url, "tiny", retries=RETRIES))
    assert "too long" in judge.judge(EXCHANGES[:1])[0].reason


@pytest.mark.parametrize("size", [1, 3])
def test_continuations_equal_generate(tiny: LoadedModel, size: int) -> None:
    texts = [question(exchange) for exchange in EXCHANGES]
    found = dict(continue_texts(tiny, texts, 12, size))
    for place, text in enumerate(texts):
        ids = torch.tensor([tiny.tokenizer(text)["input_ids"]])
        out = tiny.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=tiny.end_ids,
            pad_token_id=2,
        )
        new = [token for token in out[0, ids.shape[1] :].tolist() if token not in tiny.end_ids]
        assert found[place] == tiny.tokenizer.decode(new, skip_special_tokens=True)


def test_in_memory_the_answer_is_what_follows_the_prompt(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    # The prompt itself holds the words of an answer; a random model's own words cannot be read.
    trap = [Exchange(lines("no", "yes", "no"), lines("no", "yes", "no"))]
    (verdict,) = local_wildguard(tiny).judge(trap)
    assert verdict.answer_class is AnswerClass.UNDETERMINED
    one = local_wildguard(tiny, 1).judge(EXCHANGES)
    assert one == local_wildguard(tiny, 3).judge(EXCHANGES)


def test_a_folder_without_a_chat_template_is_loaded(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "wildguard"
    make_model("llama").save_pretrained(folder)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    settings = JudgeOptions(judge="wildguard", judge_model=str(folder), judge_device="cpu")
    judge = make_judge(settings, SilentReporter())
    assert judge.name.startswith(f"wildguard:{folder.name}-")
    assert str(folder.parent) not in judge.name  # records are shared
    assert judge.judge(EXCHANGES[:1])[0].answer_class is AnswerClass.UNDETERMINED


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"judge": "llm"}, "--judge llm needs a server"),
        ({"judge": "builtin", "judge_endpoint": "http://localhost"}, "needs no endpoint"),
        ({"judge": "wildguard", "judge_model": "./missing"}, "no such folder"),
    ],
)
def test_settings_that_do_not_fit_together(settings: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_judge(JudgeOptions(**settings), SilentReporter())
