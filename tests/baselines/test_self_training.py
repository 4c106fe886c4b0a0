"""Self-training against a slow, literal implementation of its loss."""

from __future__ import annotations

import helpers.slow_training as literal
import pytest
from helpers.baseline_runs import BENIGN, fit_context, loaded
from helpers.training_runs import ARCHITECTURES, BATCH, RATE, KindJudge, assert_learned, literal_pairs, matrices_of

from prosafeprune.baselines.self_training import SelfTraining
from prosafeprune.errors import NotApplicableError

TOKENS = 7


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_are_learned_and_benign_ones_held_where_they_were(architecture: str, kind_judge: KindJudge) -> None:
    tiny = loaded(architecture)
    pairs = literal_pairs(tiny, TOKENS)  # benign ones first
    examples = [(prompt, answer, number < len(BENIGN)) for number, (prompt, answer) in enumerate(pairs)]
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
    assert fitted.facts["pairs"] == {"benign": 4, "harmful": 4, "pseudo_harmful": 4}
    assert fitted.facts["losses"] == pytest.approx(losses, rel=2e-3, abs=1e-3)
    assert_learned(fitted, expected, first, atol=5e-4)  # Adam divides tiny gradients by their own size


def test_too_few_answers_are_named_with_the_method(kind_judge: KindJudge) -> None:
    kind_judge.dropped = BENIGN[:1]
    with pytest.raises(NotApplicableError, match="Self-training: 3 of the model's 4 own answers to benign prompts"):
        SelfTraining().fit(fit_context(loaded("llama")))
