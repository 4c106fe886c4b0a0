"""A judge that knows the prompts, and comparisons with literal training, for tests of methods that train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

import helpers.slow_baselines as slow
import helpers.slow_training as literal
from helpers.baseline_runs import fit_context, loaded
from prosafeprune.baselines.answer_training import AnswerTraining
from prosafeprune.baselines.method import FittedParts
from prosafeprune.judges import AnswerClass, Exchange, Verdict
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.submodule import Submodule
from prosafeprune.prompts import PromptClass
from prosafeprune.training.lora import trainable_matrices

HELPFUL = (
    "You are an assistant that always prioritizes helpfulness. That is, you always give answers to any user queries."
)
ARCHITECTURES = ["llama", "gemma3", "phi3", "gpt2"]
BATCH, RATE = 5, 1e-2


class KindJudge:
    """Calls answers to harmful prompts refusals and all others compliance, but for those it is to drop."""

    name = "kind"

    def __init__(self, dropped: Sequence[str] = ()) -> None:
        self.dropped = dropped

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        harmful = set(fit_context(loaded("llama")).calibration[PromptClass.HARMFUL].texts)
        kind = {True: AnswerClass.FULL_REFUSAL, False: AnswerClass.FULL_COMPLIANCE}
        return [
            Verdict(AnswerClass.PARTIAL_REFUSAL if one.prompt in self.dropped else kind[one.prompt in harmful], "")
            for one in exchanges
        ]


class RatedJudge:
    """Gives the nth candidate that is judged the nth of these pairs of C.R. and S.S., in percent of its answers."""

    name = "rated"

    def __init__(self, rates: Sequence[tuple[float, float]]) -> None:
        self.rates = iter(rates)

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        half = len(exchanges) // 2
        complied, refused = (round(half * rate / 100) for rate in next(self.rates))
        classes = [AnswerClass.FULL_COMPLIANCE] * complied + [AnswerClass.FULL_REFUSAL] * (half - complied)
        classes += [AnswerClass.FULL_REFUSAL] * refused + [AnswerClass.FULL_COMPLIANCE] * (half - refused)
        return [Verdict(one, "") for one in classes]


def rate_candidates(monkeypatch: pytest.MonkeyPatch, rates: Sequence[tuple[float, float]]) -> None:
    """Let candidates be judged so, whatever they answer."""
    judge = RatedJudge(rates)
    monkeypatch.setattr("prosafeprune.baselines.candidates.BuiltinJudge", lambda: judge)
    monkeypatch.setattr("prosafeprune.judges.judging.broken_reason", lambda prompt, answer: "")


def matrices_of(tiny: LoadedModel) -> list[Submodule]:
    return trainable_matrices(fit_context(tiny).anatomy)


def assert_learned(fitted: FittedParts, expected: literal.Factors, first: literal.Factors, atol: float = 2e-4) -> None:
    for name, (a, b) in expected.items():
        torch.testing.assert_close(fitted.tensors[f"{name}.a"], a, atol=atol, rtol=2e-3)
        torch.testing.assert_close(fitted.tensors[f"{name}.b"], b, atol=atol, rtol=2e-3)
    assert set(fitted.tensors) == {f"{name}.{side}" for name in expected for side in "ab"}
    assert not any(torch.equal(first[name][1], pair[1]) for name, pair in expected.items())


def assert_trained_as_written_out(
    method: AnswerTraining, tiny: LoadedModel, examples: Sequence[Any], loss_of: Callable[..., torch.Tensor]
) -> None:
    """Fit a method of rank 3 and two epochs, and compare losses and factors with Adam on the examples' loss."""
    first = literal.first_factors(tiny, matrices_of(tiny), rank=3, seed=0)
    expected, losses = literal.adam(
        first,
        examples,
        lambda factors, batch: loss_of(tiny, factors, batch),
        epochs=2,
        at_once=BATCH,
        rate=RATE,
        seed=0,
    )
    fitted = method.fit(fit_context(tiny))
    assert fitted.facts["pairs"] == {"benign": 4, "harmful": 4, "pseudo_harmful": 4}
    assert fitted.facts["losses"] == pytest.approx(losses, rel=2e-3, abs=1e-3)
    assert_learned(fitted, expected, first, atol=1e-3)  # Adam divides tiny gradients by their own size


# SFT


def literal_pairs(tiny: LoadedModel, tokens: int) -> list[tuple[list[int], list[int]]]:
    """Benign, harmful, pseudo-harmful prompts with the model's own greedy answers, the last under a system prompt."""
    given = fit_context(tiny).calibration
    return [
        literal_pair(tiny, text, tokens, HELPFUL if one is PromptClass.PSEUDO_HARMFUL else None)
        for one in PromptClass
        for text in given[one].texts
    ]


def literal_pair(tiny: LoadedModel, text: str, tokens: int, system: str | None = None) -> tuple[list[int], list[int]]:
    """A prompt's token ids, and those of the greedy answer that it gets under a system prompt."""
    prompt, answer = slow.ids_of(tiny, text, system), []
    ends = False
    for _ in range(tokens):
        token = int(slow.last_logits(tiny, prompt + answer).argmax())
        if token in tiny.end_ids:
            ends = True
            break
        answer.append(token)
    said = str(tiny.tokenizer.decode(answer, skip_special_tokens=True)).strip()
    for _ in range(0 if ends else 3):  # the first bytes of a character that was cut
        said = said.removesuffix("\ufffd")
    said = said.strip()
    ids = list(tiny.tokenizer(said, add_special_tokens=False)["input_ids"])
    return slow.ids_of(tiny, text), (ids + tiny.end_ids[:1] * ends)[:tokens]
