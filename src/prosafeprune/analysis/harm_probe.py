"""A linear probe of harmfulness (A.1): a logistic regression that tells harmful prompts from benign ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from prosafeprune.search.probe import FOLDS, deal_folds

SMALLEST = 1e-10
"""Directions with less than this share of the largest variance are rounding, and left out."""


@dataclass(frozen=True)
class HarmProbe:
    """Gives the probability that a prompt is harmful from its pooled activation ``(d,)``."""

    weights: np.ndarray
    """``(d,)``"""
    intercept: float

    def probability(self, activations: np.ndarray) -> np.ndarray:
        """Return the probabilities ``(n,)`` of activations ``(n, d)``."""
        found: np.ndarray = expit(activations @ self.weights + self.intercept)
        return found


def fit_harm_probe(activations: np.ndarray, harmful: np.ndarray) -> HarmProbe:
    """Fit scikit-learn's logistic regression, ridge 1, on standardised activations.

    A ridge keeps the weights in the span of the prompts, so the fit is done in the coordinates of that span: the result
    is the same, and there are fewer of them than dimensions.

    Args:
        activations: ``(n, d)``.
        harmful: ``(n,)``, bool; both must occur.
    """
    mean, scale = activations.mean(axis=0), activations.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    standard = (activations - mean) / scale
    variances, vectors = np.linalg.eigh(standard @ standard.T)
    kept = variances > SMALLEST * variances.max()
    lengths, vectors = np.sqrt(variances[kept]), vectors[:, kept]
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(vectors * lengths, harmful)
    weights = (vectors / lengths @ fitted.coef_[0]) @ standard / scale
    return HarmProbe(weights, float(fitted.intercept_[0] - mean @ weights))


def cross_validated_accuracy(activations: np.ndarray, harmful: np.ndarray) -> float:
    """Return the share of prompts that probes fitted without them get right, in five folds."""
    folds = deal_folds(harmful)
    right = 0
    for fold in range(FOLDS):
        seen, unseen = folds != fold, folds == fold
        probe = fit_harm_probe(activations[seen], harmful[seen])
        right += int(((probe.probability(activations[unseen]) > 0.5) == harmful[unseen]).sum())
    return right / len(harmful)
