"""Self-training against a slow, literal implementation, and which answers it corrects."""

from __future__ import annotations

import random

import helpers.slow_baselines as slow
import helpers.slow_training as literal
import pytest
from helpers.baseline_runs import BENIGN, HARMFUL, PSEUDO, fit_context, loaded
from helpers.training_runs import (
    ARCHITECTURES,
    BATCH,
    HELPFUL,
    RATE,
    KindJudge,
    assert_learned,
    literal_pair,
    matrices_of,
)

from prosafeprune.baselines.self_training import SelfTraining
from prosafeprune.errors import NotApplicableError

TOKENS = 7


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prosafeprune.baselines.own_answers.FEWEST", 2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_wrong_answers_are_corrected_and_right_ones_held(architecture: str, kind_judge: KindJudge, few: None) -> None:
    tiny = loaded(architecture)
    refused, complied = [PSEUDO[0], PSEUDO[2]], [HARMFUL[1]]
    kind_judge.wrong_at_first = [*refused, *complied]
    right = {text: literal_pair(tiny, text, TOKENS) for text in (*BENIGN, *HARMFUL, *PSEUDO)}
    shorter = sorted(
        (one for one in HARMFUL if one not in complied), key=lambda one: len(slow.plain(tiny, one, TOKENS))
    )[:2]
    borrowed = (right[HARMFUL[1]][0], right[random.Random(0).choice(shorter)][1], False)
    examples = [
        *((*right[one], True) for one in BENIGN),
        *((*right[one], True) for one in HARMFUL if one not in complied),
        borrowed,
        borrowed,  # as many corrections of one class as of the other
        *((*right[one], True) for one in PSEUDO if one not in refused),
        *((*literal_pair(tiny, one, TOKENS, HELPFUL), False) for one in refused),
    ]
    method = SelfTraining(rank=3, epochs=2, examples_at_once=BATCH, learning_rate=RATE, answer_tokens=TOKENS)
    first = literal.first_factors(tiny, matrices_of(tiny), rank=3, seed=0)
    expected, losses = literal.adam(
        first,
        examples,
        lambda factors, batch: literal.anchored_nats_per_token(tiny, factors, batch),
        epochs=2,
        at_once=BATCH,
        rate=RATE,
        seed=0,
    )
    fitted = method.fit(fit_context(tiny))
    assert fitted.facts["pairs"] == {"benign": 4, "harmful": 5, "pseudo_harmful": 4}
    assert fitted.facts["losses"] == pytest.approx(losses, rel=2e-3, abs=1e-3)
    assert_learned(fitted, expected, first, atol=5e-4)  # Adam divides tiny gradients by their own size


def test_a_model_without_right_answers_to_risky_prompts_is_still_corrected(kind_judge: KindJudge) -> None:
    tiny = loaded("llama")
    kind_judge.wrong_at_first = list(PSEUDO)
    fitted = SelfTraining(epochs=1, rank=2, answer_tokens=3).fit(fit_context(tiny))
    assert fitted.facts["pairs"] == {"benign": 4, "harmful": 4, "pseudo_harmful": 4}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "answers every calibration prompt as it should"),
        (HARMFUL[:1], "3 of the model's 4 own answers to harmful prompts are a full refusal"),
        (BENIGN[:1], "3 of the model's 4 own answers to benign prompts are a full compliance"),
    ],
)
def test_it_needs_errors_and_refusals(wrong: list[str], message: str, kind_judge: KindJudge) -> None:
    kind_judge.wrong_at_first = list(wrong)
    with pytest.raises(NotApplicableError, match=message):
        SelfTraining().fit(fit_context(loaded("llama")))
