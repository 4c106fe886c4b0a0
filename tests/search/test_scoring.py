"""Scores of plans, against whole passes of the edited model and probes fitted by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers.plan_scoring import OddJudge, few_prompts, make_scorer
from helpers.random_edits import random_edits
from helpers.resumed_models import tiny, whole_pass
from helpers.tiny_models import REQUIRED
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from prosafeprune.editing.in_memory import apply_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.divergence import divergence_from_base, record_base_answers
from prosafeprune.judge.verdict import AnswerClass, Exchange, Verdict
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.resume import ForcedText
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, PromptSet
from prosafeprune.search.benign_kl import BenignKl
from prosafeprune.search.probe import FOLDS, RIDGES, CrossFitted, deal_folds
from prosafeprune.search.scoring import FIRST_TOKENS, PlanScorer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scorer() -> PlanScorer:
    return make_scorer(tiny("llama"))


def states_by_hand(loaded: LoadedModel, scorer: PlanScorer) -> np.ndarray:
    """Decode the first tokens one by one, each by a complete pass, and average the states at them."""
    texts = [text for one in scorer.sets for text in one.prompts.texts]
    states = []
    for encoded in encode_prompts(loaded.tokenizer, texts):
        first: tuple[int, ...] = ()
        for _ in range(FIRST_TOKENS):
            token = int(whole_pass(loaded, ForcedText(encoded.ids, first))[1][-1].argmax())
            if token in loaded.end_ids:
                break
            first += (token,)
        hidden = whole_pass(loaded, ForcedText(encoded.ids, first))[0]
        states.append((hidden[1:] if first else hidden).double().mean(dim=0).numpy())
    return np.stack(states)


def test_no_edit_scores_what_was_measured(scorer: PlanScorer) -> None:
    scores = scorer.base.scores
    assert 0 < scores.compliance_rate < 100 and 0 < scores.safety_score < 100
    assert scorer.score([]) == scorer.base_score
    assert scorer.base_score.compliance_rate == pytest.approx(scores.compliance_rate)
    assert scorer.base_score.safety_score == pytest.approx(scores.safety_score)
    assert scorer.base_score.divergence == 0
    nothing = scorer.score(random_edits(scorer.loaded.model, [1, 2], strength=0.0))
    assert nothing.compliance_rate == pytest.approx(scores.compliance_rate, abs=1e-3)
    assert nothing.safety_score == pytest.approx(scores.safety_score, abs=1e-3)
    assert nothing.divergence == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("layers", [[1], [2], [1, 2]])
def test_scores_against_whole_passes_and_probes_by_hand(scorer: PlanScorer, layers: list[int]) -> None:
    loaded, edits = scorer.loaded, random_edits(scorer.loaded.model, layers)
    found = scorer.score(edits)
    before = states_by_hand(loaded, scorer)
    with apply_edits(edits):
        after = states_by_hand(loaded, scorer)
    verdicts = [verdict.answer_class for one in scorer.base.sets for verdict in one.verdicts]
    harmful = np.array([False] * 12 + [True] * 12)
    changes = {}
    for name, outcomes in (
        ("refuses", np.array([verdict.refuses for verdict in verdicts])),
        ("complies", np.array([verdict.complies for verdict in verdicts])),
    ):
        folds, ridge = deal_folds(outcomes), {"refuses": scorer._refuses, "complies": scorer._complies}[name].ridge
        one, two = np.empty(24), np.empty(24)
        for fold in range(FOLDS):
            seen, unseen = folds != fold, folds == fold
            mean, deviation = before[seen].mean(axis=0), before[seen].std(axis=0)
            probe = LogisticRegression(C=1 / ridge, max_iter=1000)
            probe.fit((before[seen] - mean) / deviation, outcomes[seen])
            one[unseen] = probe.predict_proba((before[unseen] - mean) / deviation)[:, 1]
            two[unseen] = probe.predict_proba((after[unseen] - mean) / deviation)[:, 1]
        changes[name] = two - one
        if name == "refuses":
            assert found.refusal_auc == pytest.approx(roc_auc_score(harmful, two), abs=0.02)
    scores = scorer.base.scores
    expected = scores.compliance_rate + 100 * changes["complies"][~harmful].mean()
    assert found.compliance_rate == pytest.approx(expected, abs=0.01)
    expected = scores.safety_score + 100 * changes["refuses"][harmful].mean()
    assert found.safety_score == pytest.approx(expected, abs=0.01)


def test_folds_are_even_in_both_outcomes() -> None:
    outcomes = np.array([True] * 10 + [False] * 20)
    folds = deal_folds(outcomes)
    assert [int(outcomes[folds == fold].sum()) for fold in range(FOLDS)] == [2] * FOLDS
    assert [int((folds == fold).sum()) for fold in range(FOLDS)] == [6] * FOLDS


def test_a_probe_finds_a_planted_direction_and_follows_a_shift_along_it() -> None:
    draws = np.random.default_rng(0)
    states, direction = draws.normal(size=(200, 20)), draws.normal(size=20)
    outcomes = states @ direction + draws.normal(size=200) > 0
    probe = CrossFitted(states, outcomes)
    assert probe.auc is not None and probe.auc > 0.9
    assert probe(states).mean() == pytest.approx(outcomes.mean(), abs=0.03)
    for size in (-0.3, 0.3):
        shift = size * direction
        truth = ((states + shift) @ direction + draws.normal(size=200) > 0).mean()
        assert probe(states + shift).mean() == pytest.approx(truth, abs=0.08)
    across = draws.normal(size=20)
    across -= direction * (across @ direction) / (direction @ direction)
    assert probe(states + 0.3 * across).mean() == pytest.approx(outcomes.mean(), abs=0.08)


def test_random_outcomes_are_not_predicted() -> None:
    draws = np.random.default_rng(1)
    probe = CrossFitted(draws.normal(size=(100, 400)), draws.random(100) > 0.5)
    assert probe.auc is not None and probe.auc < 0.65  # probes that saw these very prompts would reach 1
    assert probe.ridge > RIDGES[0]


def test_a_constant_outcome_has_a_constant_probability() -> None:
    states = np.random.default_rng(0).normal(size=(10, 3))
    always = CrossFitted(states, np.ones(10, bool))
    assert always.auc is None
    assert always(states) == pytest.approx(np.ones(10))


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
    assert scorer.score(edits) == scorer.score(edits)
    scorer.measure(edits)
    assert all(torch.equal(value, before[name]) for name, value in scorer.loaded.model.state_dict().items())


def test_the_batch_size_does_not_matter(scorer: PlanScorer) -> None:
    loaded = tiny("llama")
    alone = PlanScorer(loaded, find_anatomy(loaded.model), [1, 2], OddJudge(), 4, few_prompts(), batch_size=1)
    one = alone.score(random_edits(loaded.model, [1]))
    other = scorer.score(random_edits(scorer.loaded.model, [1]))
    assert one.compliance_rate == pytest.approx(other.compliance_rate, abs=1e-2)
    assert one.safety_score == pytest.approx(other.safety_score, abs=1e-2)
    assert one.divergence == pytest.approx(other.divergence, rel=1e-3)


def test_states_that_predict_nothing_give_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prosafeprune.judge.judging.broken_reason", lambda prompt, answer: None)

    class Warnings(SilentReporter):
        texts: list[str] = []  # noqa: RUF012 - one test, one list

        def warning(self, text: str) -> None:
            self.texts.append(text)

    class Refusing(OddJudge):
        def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
            return [Verdict(AnswerClass.FULL_REFUSAL, "") for _ in exchanges]

    for judge in (OddJudge(), Refusing()):
        loaded = tiny("llama")
        PlanScorer(loaded, find_anatomy(loaded.model), [1], judge, 4, few_prompts(), reporter=Warnings())
    assert len(Warnings.texts) == 2
    assert all("--confirmations" in text for text in Warnings.texts)


def test_a_class_without_prompts_is_an_error() -> None:
    loaded = tiny("llama")
    prompts = {**few_prompts(), PromptClass.HARMFUL: PromptSet(PromptClass.HARMFUL, "none", ())}
    with pytest.raises(InputError, match="No harmful validation prompts"):
        PlanScorer(loaded, find_anatomy(loaded.model), [1], OddJudge(), 4, prompts)
