"""Self-training against a slow, literal implementation of its loss."""

from __future__ import annotations

import helpers.slow_training as literal
import pytest
from helpers.baseline_runs import BENIGN, fit_context, loaded
from helpers.training_runs import ARCHITECTURES, BATCH, RATE, KindJudge, assert_trained_as_written_out, literal_pairs

from prosafeprune.baselines.self_training import SelfTraining
from prosafeprune.errors import NotApplicableError

TOKENS = 7


@pytest.mark.long
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_are_learned_and_benign_ones_held_where_they_were(architecture: str, kind_judge: KindJudge) -> None:
    tiny = loaded(architecture)
    pairs = literal_pairs(tiny, TOKENS)  # benign ones first
    examples = [(prompt, answer, number < len(BENIGN)) for number, (prompt, answer) in enumerate(pairs)]
    method = SelfTraining(rank=3, epochs=2, examples_at_once=BATCH, learning_rate=RATE, answer_tokens=TOKENS)
    assert_trained_as_written_out(method, tiny, examples, literal.anchored_nats_per_token)


def test_too_few_answers_are_named_with_the_method(kind_judge: KindJudge) -> None:
    kind_judge.dropped = BENIGN[:1]
    with pytest.raises(NotApplicableError, match="Self-training: 3 of the model's 4 own answers to benign prompts"):
        SelfTraining().fit(fit_context(loaded("llama")))


def test_thoughts_that_the_limit_cut_are_answers_too_short(
    kind_judge: KindJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind_judge.dropped = BENIGN[:1]
    monkeypatch.setattr("prosafeprune.generation.thought_tokens.AnswerDecoder.__call__", lambda *_: "<think>So")
    with pytest.raises(NotApplicableError, match="Raise its setting answer_tokens, as most end within a thought"):
        SelfTraining(answer_tokens=2).fit(fit_context(loaded("llama")))
