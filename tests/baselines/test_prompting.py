"""The strategies of prompting: what is put before a prompt, and which one is selected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import helpers.slow_baselines as slow
import pytest
from helpers.baseline_runs import PROMPTS, TOKENS, fit_context, loaded, texts
from helpers.tiny_models import make_tokenizer
from helpers.training_runs import rate_candidates

from prosafeprune.baselines.candidates import Validation
from prosafeprune.baselines.method import FittedParts
from prosafeprune.baselines.prompting import STRATEGIES, Prompting
from prosafeprune.baselines.registry import make_method
from prosafeprune.errors import InputError
from prosafeprune.generation import Answer
from prosafeprune.judges import AnswerClass, Exchange, Verdict
from prosafeprune.model.chat_template import encode_prompts, render
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import PartialAnswers, SilentReporter
from prosafeprune.prompts import Prompt, PromptClass, PromptSet, bundled_prompts, require_disjoint


def ids_after(tiny: LoadedModel, turns: Sequence[tuple[str, str]]) -> list[int]:
    messages = [{"role": role, "content": words} for role, words in turns]
    rendered = tiny.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return list(tiny.tokenizer(rendered, add_special_tokens=False)["input_ids"])


@pytest.mark.long
@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("size", [1, 5])
def test_a_strategy_s_words_come_before_each_prompt(name: str, size: int) -> None:
    tiny, strategy = loaded("llama"), STRATEGIES[name]
    before = [("system", strategy.system)] if strategy.system else list(strategy.history)
    expected = []
    for prompt in PROMPTS:
        ids = ids_after(tiny, [*before, ("user", prompt)])
        expected.append(slow.greedy(tiny, lambda written, ids=ids: slow.last_logits(tiny, ids + written), TOKENS))
    assert texts(tiny, Prompting(strategy=name), FittedParts(), size) == expected
    assert texts(tiny, Prompting(), FittedParts(facts={"strategy": name}), size) == expected


def test_the_published_strategies_are_all_there() -> None:
    assert list(STRATEGIES) == ["helpful", "few-shot", "interactive", "contextual"]
    roles = [role for role, _ in STRATEGIES["few-shot"].history]
    assert roles == ["user", "assistant"] * 3
    refused = [words for role, words in STRATEGIES["few-shot"].history if role == "assistant" and "can't help" in words]
    assert len(refused) == 1  # the examples show that harmful requests are still refused
    assert all("harm" in str(STRATEGIES[name]) for name in ("interactive", "contextual"))


def test_few_shot_examples_are_in_no_bundled_set() -> None:
    asked = tuple(Prompt(words) for role, words in STRATEGIES["few-shot"].history if role == "user")
    examples = PromptSet(PromptClass.PSEUDO_HARMFUL, "few-shot", asked)
    for one in PromptClass:
        for split in ("calibration", "validation", "test"):
            require_disjoint([examples], [bundled_prompts(one, split)])


def test_only_best_is_fitted() -> None:
    assert Prompting().needs_fit
    assert not Prompting(strategy="contextual").needs_fit
    assert not Prompting(system="Be kind.").needs_fit


def test_own_words_are_a_system_prompt() -> None:
    tiny = loaded("llama")
    expected = [slow.plain(tiny, prompt, TOKENS, "Be kind.") for prompt in PROMPTS]
    assert texts(tiny, Prompting(system="Be kind."), FittedParts(), 5) == expected


def test_own_words_and_a_strategy_exclude_each_other() -> None:
    with pytest.raises(InputError, match=r"Method prompt: a strategy or a system prompt of your own, not both\."):
        make_method("prompt", {"strategy": "few-shot", "system": "Be kind."})


def test_the_best_is_that_with_the_highest_tradeoff(monkeypatch: pytest.MonkeyPatch) -> None:
    rate_candidates(monkeypatch, [(100, 0), (75, 50), (50, 75), (50, 25)])
    fitted = Prompting().fit(fit_context(loaded("llama")))
    assert fitted.facts["strategy"] == "few-shot"  # the first of two with 62.5
    assert fitted.facts["validation"]["interactive"] == [50.0, 75.0]
    assert list(fitted.facts["validation"]) == list(STRATEGIES)


class Scripted:
    """Answers every prompt with itself."""

    def answer(self, prompts: Sequence[str], decoding: Any) -> Any:
        assert decoding.max_new_tokens == 48
        yield from ((i, Answer(prompt, True)) for i, prompt in enumerate(prompts))


def test_rates_count_compliance_and_refusals_of_their_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Judge:
        def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
            classes = [AnswerClass.FULL_COMPLIANCE] * 3 + [AnswerClass.PARTIAL_REFUSAL] * 2 + [AnswerClass.INCAPABLE]
            return [Verdict(one, "") for one in [*classes, AnswerClass.FULL_COMPLIANCE, AnswerClass.FULL_REFUSAL]]

    monkeypatch.setattr("prosafeprune.baselines.candidates.BuiltinJudge", Judge)
    monkeypatch.setattr("prosafeprune.judges.judging.broken_reason", lambda prompt, answer: "")
    steps: list[float] = []
    found = Validation(fit_context(loaded("llama")), 4).rates(Scripted(), PartialAnswers(steps.append))
    assert sum(steps) == 8
    assert (found.compliance, found.safety, found.tradeoff) == (75.0, 50.0, 62.5)


class Listening(SilentReporter):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def warning(self, text: str) -> None:
        self.heard.append(text)


@pytest.mark.parametrize(("opening", "warned"), [("<think>So, ", True), ("<think>So</think>", False), ("", False)])
def test_thoughts_that_the_limit_cut_are_no_ground_for_a_choice(opening: str, warned: bool) -> None:
    class Thinking:
        def answer(self, prompts: Sequence[str], decoding: Any) -> Any:
            yield from ((i, Answer(f"{opening}Here it is.", False)) for i, _ in enumerate(prompts))

    reporter = Listening()
    validation = Validation(replace(fit_context(loaded("llama")), reporter=reporter), 4)
    validation.best({"one": Thinking, "two": Thinking}, "Test")
    expected = "Test: 16 of 16 validation answers are a thought that the limit of 48 tokens cut"
    assert [heard.startswith(expected) for heard in reporter.heard] == [True] * warned


def test_history_is_rendered_with_and_without_a_system_role() -> None:
    tokenizer = make_tokenizer()
    history = [("user", "One"), ("assistant", "Two")]
    (encoded,) = encode_prompts(tokenizer, ["One"], "Be kind.", history)
    words = tokenizer.decode(encoded.ids)
    assert words.index("Be kind.") < words.index("Two") < words.rindex("One")
    assert tokenizer.decode(encoded.ids[encoded.user_start : encoded.user_end]) == "One"
    assert "Two" not in tokenizer.decode(encoded.ids[encoded.user_start :])  # the last turn is the prompt's
    assert render(tokenizer, "One", None, history).count("One") == 2
