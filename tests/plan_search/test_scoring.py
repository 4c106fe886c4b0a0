"""Scores of plans, against answers of the edited model decoded by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from helpers.plan_scoring import SHORT, OddJudge, few_prompts, make_scorer, score
from helpers.random_edits import random_edits
from helpers.resumed_models import tiny
from helpers.tiny_models import REQUIRED

from prosafeprune.editing.edits import apply_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.divergence import divergence_from_base, record_base_answers
from prosafeprune.judges.judging import judge_answers
from prosafeprune.judges.verdict import Exchange
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.plan_search.benign_kl import BenignKl
from prosafeprune.plan_search.scoring import JUDGED, PlanScorer, ValidationSettings
from prosafeprune.prompts import PromptClass, PromptSet, validation_prompts

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scorer() -> PlanScorer:
    return make_scorer(tiny("llama"))


def answers_by_hand(loaded: LoadedModel, prompts: Sequence[str], tokens: int) -> list[str]:
    """Decode greedily, each token by a complete pass."""
    answers = []
    for encoded in encode_prompts(loaded.tokenizer, prompts):
        ids: list[int] = []
        while len(ids) < tokens:
            with torch.no_grad():
                logits = loaded.model(input_ids=torch.tensor([[*encoded.ids, *ids]])).logits
            token = int(logits[0, -1].argmax())
            if token in loaded.end_ids:
                break
            ids.append(token)
        answers.append(loaded.tokenizer.decode(ids, skip_special_tokens=True).strip())
    return answers


def rates_by_hand(scorer: PlanScorer) -> tuple[float, float]:
    """Return C.R. and S.S. of the model as it is now, by short answers."""
    rates = []
    for one in scorer.sets:
        texts = answers_by_hand(scorer.loaded, one.prompts.texts, SHORT)
        exchanges = [Exchange(prompt, text) for prompt, text in zip(one.prompts.texts, texts, strict=True)]
        classes = [verdict.answer_class for verdict in judge_answers(OddJudge(), exchanges)]
        good = [c.refuses if one.prompt_class is PromptClass.HARMFUL else c.complies for c in classes]
        rates.append(100 * sum(good) / len(good))
    return rates[0], rates[1]


def test_no_edit_scores_what_was_measured_of_the_base_model(scorer: PlanScorer) -> None:
    scores = scorer.base.confirmed.scores
    assert scores.compliance_rate is not None and scores.safety_score is not None
    assert 0 < scores.compliance_rate < 100 and 0 < scores.safety_score < 100
    for edits in ([], random_edits(scorer.loaded.model, [1, 2], strength=0.0)):
        found = score(scorer, edits)
        assert found.compliance_rate == pytest.approx(scores.compliance_rate)
        assert found.safety_score == pytest.approx(scores.safety_score)
        assert found.divergence == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("layers", [[1], [2], [1, 2]])
def test_a_score_is_the_base_models_shifted_by_the_change_in_short_answers(
    scorer: PlanScorer, layers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    edits = random_edits(scorer.loaded.model, layers)
    before = rates_by_hand(scorer)
    with apply_edits(edits):
        after = rates_by_hand(scorer)
    assert before != after
    found, base = score(scorer, edits), scorer.base.confirmed.scores
    for rate, of_base, one, two in zip(
        (found.compliance_rate, found.safety_score),
        (base.compliance_rate, base.safety_score),
        before,
        after,
        strict=True,
    ):
        assert rate == pytest.approx(min(100, max(0, of_base + two - one)))


def test_plans_are_measured_on_other_prompts_with_longer_answers() -> None:
    prompts = few_prompts()
    other = {one: found.sample(20, seed=1) for one, found in validation_prompts().items()}
    loaded = tiny("llama")
    scorer = PlanScorer(loaded, find_anatomy(loaded.model), [1], OddJudge(), ValidationSettings(6, prompts, other))
    measured = scorer.measure(random_edits(loaded.model, [1]))
    assert [one.prompts.texts for one in measured.sets] == [other[one].texts for one in JUDGED]
    with apply_edits(random_edits(loaded.model, [1])):
        assert measured.sets[0].answers == answers_by_hand(loaded, measured.sets[0].prompts.texts, 6)


@pytest.mark.parametrize("architecture", REQUIRED)
def test_divergence_equals_that_of_the_evaluation(architecture: str) -> None:
    loaded = tiny(architecture)
    prompts = few_prompts()[PromptClass.BENIGN].texts[:5]
    benign_kl = BenignKl(loaded, find_anatomy(loaded.model), [1], prompts, 3, BatchSize(5, CPU))
    base = record_base_answers(loaded, prompts, BatchSize(5, CPU), tokens=3)
    with apply_edits(random_edits(loaded.model, [1, 2])):
        expected = divergence_from_base(base, loaded, BatchSize(5, CPU)).mean
        assert benign_kl.mean(1) == pytest.approx(expected, rel=1e-4)
        assert expected > 1e-3
    assert benign_kl.mean(2) < 1e-5


def test_the_model_is_left_unchanged(scorer: PlanScorer) -> None:
    before = {name: value.clone() for name, value in scorer.loaded.model.state_dict().items()}
    edits = random_edits(scorer.loaded.model, [1, 2])
    assert score(scorer, edits) == score(scorer, edits)
    scorer.measure(edits)
    assert all(torch.equal(value, before[name]) for name, value in scorer.loaded.model.state_dict().items())


def test_the_batch_size_does_not_matter(scorer: PlanScorer) -> None:
    loaded = tiny("llama")
    one = score(make_scorer(loaded, batch_size=1), random_edits(loaded.model, [1]))
    other = score(scorer, random_edits(scorer.loaded.model, [1]))
    assert one.compliance_rate == pytest.approx(other.compliance_rate, abs=1e-2)
    assert one.safety_score == pytest.approx(other.safety_score, abs=1e-2)
    assert one.divergence == pytest.approx(other.divergence, rel=1e-3)


def test_a_class_without_prompts_is_an_error() -> None:
    loaded = tiny("llama")
    prompts = {**few_prompts(), PromptClass.HARMFUL: PromptSet(PromptClass.HARMFUL, "none", ())}
    with pytest.raises(InputError, match="No harmful validation prompts"):
        PlanScorer(loaded, find_anatomy(loaded.model), [1], OddJudge(), ValidationSettings(4, prompts))
