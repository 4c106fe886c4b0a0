"""Probes of refusals: cross-fitted, with a ridge that held-out prompts choose."""

from __future__ import annotations

import numpy as np
import pytest

from prosafeprune.plan_search.probe import FOLDS, RIDGES, CrossFitted, deal_folds


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
