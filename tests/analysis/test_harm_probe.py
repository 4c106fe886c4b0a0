"""The probe against scikit-learn's logistic regression, and its accuracy on held-out prompts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from prosafeprune.analysis.harm_probe import cross_validated_accuracy, fit_harm_probe


@pytest.mark.parametrize("wide", [True, False])
def test_the_probe_is_scikit_learns_logistic_regression(wide: bool) -> None:
    random = np.random.default_rng(0)
    harmful = np.arange(40) % 2 == 0
    activations = random.normal(size=(40, 90 if wide else 7)) + 1.5 * harmful[:, None] * random.normal(
        size=90 if wide else 7
    )
    activations[:, 3] = 2.5  # a constant direction
    unseen = random.normal(size=(11, activations.shape[1]))
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=5000, tol=1e-8)).fit(
        activations, harmful
    )
    found = fit_harm_probe(activations[~harmful], activations[harmful]).probability(unseen)
    np.testing.assert_allclose(found, plain.predict_proba(unseen)[:, 1], atol=2e-3)


def test_activations_that_are_the_same_for_every_prompt_say_nothing() -> None:
    same = np.tile(np.array([0.1, -7.3, 0.0]), (9, 1))
    probe = fit_harm_probe(same[:6], same[6:])
    np.testing.assert_allclose(probe.probability(same + 1), 3 / 9)
    assert cross_validated_accuracy(same[:6], same[6:]) == 6 / 9


def test_accuracy_is_on_held_out_prompts() -> None:
    random = np.random.default_rng(1)
    noise, harmful = random.normal(size=(100, 300)), np.arange(100) % 2 == 0
    assert training_accuracy(noise, harmful) == 1, "with more dimensions than prompts, any labels fit"
    assert 0.3 < cross_validated_accuracy(noise[~harmful], noise[harmful]) < 0.7
    noise[:, 0] += 20 * harmful
    noise[:, 1:] *= 0.1
    assert cross_validated_accuracy(noise[~harmful, :2], noise[harmful, :2]) == 1


def training_accuracy(activations: np.ndarray, harmful: np.ndarray) -> float:
    probe = fit_harm_probe(activations[~harmful], activations[harmful])
    return float(((probe.probability(activations) > 0.5) == harmful).mean())
