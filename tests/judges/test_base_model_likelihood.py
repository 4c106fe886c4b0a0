"""Log-likelihoods of answers under a base model, and the word salad found by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from helpers.tiny_models import make_model, make_tokenizer

from prosafeprune.errors import InputError
from prosafeprune.judges import AnswerClass, Exchange, Verdict, base_model_likelihood
from prosafeprune.judges.base_model_likelihood import (
    BELOW_PROMPTS,
    SALAD_BELOW,
    JudgeWithBaseModel,
    Likelihood,
    mean_log_likelihoods,
    salad_limit,
)
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel

EXCHANGES = [
    Exchange("How do I kill a process?", "Run kill with the number of the process, and wait for it to end by itself."),
    Exchange("Hi", "Hello, what can I do for you on this fine day, my friend of many years and of many more to come?"),
    Exchange("Yes or no?", "No."),
]


@dataclass
class Judging:
    """Gives these classes in turn."""

    classes: tuple[AnswerClass, ...] = (AnswerClass.FULL_COMPLIANCE,)
    name = "judging"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        return [Verdict(self.classes[row % len(self.classes)], "so") for row in range(len(exchanges))]


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    cpu = torch.device("cpu")
    model = make_model("llama").eval()
    return LoadedModel("tiny", Path(), model, make_tokenizer(), cpu, torch.float32, torch.float32, [2])


@pytest.mark.parametrize("size", [1, 3])
def test_scores_equal_one_pass_for_each_answer(tiny: LoadedModel, size: int) -> None:
    advanced: list[int] = []
    found = mean_log_likelihoods(tiny, EXCHANGES, size, advanced.append)
    assert sum(advanced) == len(EXCHANGES)
    assert found[2] is None  # too short
    for exchange, score in zip(EXCHANGES[:2], found[:2], strict=True):
        (prompt,) = encode_prompts(tiny.tokenizer, [exchange.prompt])
        answer = tiny.tokenizer(exchange.answer, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt.ids, *answer]])
        with torch.no_grad():
            chances = tiny.model(input_ids=ids).logits[0].log_softmax(-1)
        by_token = chances[:-1].gather(1, ids[0, 1:, None])[:, 0]
        assert score is not None
        assert score.answer == pytest.approx(by_token[len(prompt) - 1 :].mean().item(), abs=1e-4)
        words = by_token[prompt.user_start - 1 : prompt.user_end - 1]
        assert score.prompt == pytest.approx(words.mean().item(), abs=1e-4)


def test_what_all_prompts_begin_with_runs_once(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    hook = tiny.model.get_input_embeddings().register_forward_hook(lambda _, given, made: lengths.append(made.shape[1]))
    with_prefix = mean_log_likelihoods(tiny, EXCHANGES, 1)
    prefix, *suffixes = lengths
    lengths.clear()

    def too_long(config: object, reach: int, further_tokens: int) -> None:
        if reach:
            raise InputError("positions")

    monkeypatch.setattr("prosafeprune.model.prefix_cache.require_positions", too_long)
    whole = mean_log_likelihoods(tiny, EXCHANGES, 1)
    hook.remove()
    assert prefix > 0
    assert [prefix + suffix for suffix in suffixes] == lengths
    for one, same in zip(with_prefix[:2], whole[:2], strict=True):
        assert one is not None and same is not None
        assert (same.answer, same.prompt) == pytest.approx((one.answer, one.prompt), abs=1e-5)


def test_a_pass_keeps_the_logits_it_needs_of_as_many_exchanges_as_fit(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, int]] = []
    hook = tiny.model.register_forward_hook(lambda module, given, made: shapes.append(tuple(made.logits.shape[:2])))
    expected = mean_log_likelihoods(tiny, EXCHANGES)
    prompts = encode_prompts(tiny.tokenizer, [one.prompt for one in EXCHANGES[:2]])
    answers = [tiny.tokenizer(one.answer, add_special_tokens=False)["input_ids"] for one in EXCHANGES[:2]]
    needed = [
        len(prompt) - prompt.user_start + len(answer) + 1 for prompt, answer in zip(prompts, answers, strict=True)
    ]
    prefix = (1, 1)
    assert shapes == [prefix, (2, max(needed))]
    shapes.clear()
    monkeypatch.setattr(base_model_likelihood, "LOGITS_AT_ONCE", 1)
    found = mean_log_likelihoods(tiny, EXCHANGES)
    hook.remove()
    assert sorted(shapes) == sorted([prefix, *((1, count) for count in needed)])
    for one, same in zip(expected[:2], found[:2], strict=True):
        assert one is not None and same is not None
        assert (same.answer, same.prompt) == pytest.approx((one.answer, one.prompt), abs=1e-5)


def test_the_limit_follows_how_well_the_model_reads_the_prompts() -> None:
    assert salad_limit([]) == SALAD_BELOW
    assert salad_limit([Likelihood(-1, -1.5)]) == SALAD_BELOW
    assert salad_limit([Likelihood(-1, -6.0), Likelihood(-1, -8.0)]) == -7 - BELOW_PROMPTS


def test_salad_is_broken_and_the_rest_is_judged(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [Likelihood(-1.0, -2.0), Likelihood(-9.0, -2.0), None]
    monkeypatch.setattr("prosafeprune.judges.base_model_likelihood.mean_log_likelihoods", lambda *_: scores)
    verdicts = JudgeWithBaseModel(Judging(), tiny).judge(EXCHANGES)
    classes = [verdict.answer_class for verdict in verdicts]
    assert classes == [AnswerClass.FULL_COMPLIANCE, AnswerClass.BROKEN, AnswerClass.FULL_COMPLIANCE]
    assert [verdict.log_likelihood for verdict in verdicts] == [-1.0, -9.0, None]
    assert "-9.0 nats" in verdicts[1].reason
    assert Verdict.from_row(verdicts[1].as_row()) == verdicts[1]


def test_a_random_model_calls_nothing_salad(tiny: LoadedModel) -> None:
    verdicts = JudgeWithBaseModel(Judging(), tiny).judge(EXCHANGES)
    assert all(verdict.answer_class is AnswerClass.FULL_COMPLIANCE for verdict in verdicts)


def test_only_answers_that_would_count_as_compliance_are_scored(tiny: LoadedModel) -> None:
    classes = (AnswerClass.FULL_REFUSAL, AnswerClass.FULL_COMPLIANCE)
    scored = [
        verdict.log_likelihood is not None for verdict in JudgeWithBaseModel(Judging(classes), tiny).judge(EXCHANGES)
    ]
    assert scored == [False, True, False]
    refused = JudgeWithBaseModel(Judging((AnswerClass.FULL_REFUSAL,)), tiny).judge(EXCHANGES)
    assert [verdict.log_likelihood for verdict in refused] == [None] * 3


def test_a_sample_without_salad_spares_the_others(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []

    def scores(_: object, exchanges: list[Exchange], __: object) -> list[Likelihood]:
        scored.append(len(exchanges))
        return [Likelihood(-9.0 if "salad" in one.answer else -1.0, -2.0) for one in exchanges]

    monkeypatch.setattr("prosafeprune.judges.base_model_likelihood.mean_log_likelihoods", scores)
    judge = JudgeWithBaseModel(Judging(), tiny, sample=2)
    clean = [Exchange(f"Prompt {n}", "Fine.") for n in range(6)]
    assert [verdict.log_likelihood for verdict in judge.judge(clean)] == [-1.0, None, None, -1.0, None, None]
    assert scored == [2]
    broken = [*clean[:3], *(Exchange(f"Prompt {n}", "salad") for n in range(3))]
    classes = [verdict.answer_class for verdict in judge.judge(broken)]
    assert classes == [AnswerClass.FULL_COMPLIANCE] * 3 + [AnswerClass.BROKEN] * 3
    assert scored == [2, 2, 4]  # those of the sample are not scored again
