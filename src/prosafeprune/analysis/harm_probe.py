"""A linear probe of harmfulness (A.1): a logistic regression of harmful against benign prompts."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from prosafeprune.prompts import PromptClass
from prosafeprune.search.probe import FOLDS, deal_folds

PROBE_CLASSES = (PromptClass.BENIGN, PromptClass.HARMFUL)
"""The classes that probes are fitted to, in the order of the arguments below."""
SMALLEST = 1e-10
"""Directions with less than this share of the largest variance are rounding errors, and dropped."""


@dataclass(frozen=True)
class HarmProbe:
    """Gives the probability that a prompt is harmful from its pooled activation ``(d,)``."""

    weights: np.ndarray
    """``(d,)``"""
    intercept: float

    def probability(self, activations: np.ndarray) -> np.ndarray:
        """Return the probabilities ``(n,)`` for activations ``(n, d)``."""
        probabilities: np.ndarray = expit(activations @ self.weights + self.intercept)
        return probabilities


def fit_harm_probe(benign: np.ndarray, harmful: np.ndarray) -> HarmProbe:
    """Fit scikit-learn's logistic regression with ridge 1 to standardised activations, each ``(n, d)``.

    With a ridge penalty the weights stay in the span of the prompts, so the fit uses coordinates of that span: the
    result is the same, with fewer dimensions.
    """
    activations = np.concatenate([benign, harmful])
    labels = np.arange(len(activations)) >= len(benign)
    mean, scale = activations.mean(axis=0), activations.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    standard = (activations - mean) / scale
    variances, vectors = np.linalg.eigh(standard @ standard.T)
    kept = variances > SMALLEST * variances.max()
    lengths, vectors = np.sqrt(variances[kept]), vectors[:, kept]
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(vectors * lengths, labels)
    weights = (vectors / lengths @ fitted.coef_[0]) @ standard / scale
    return HarmProbe(weights, float(fitted.intercept_[0] - mean @ weights))


def cross_validated_accuracy(benign: np.ndarray, harmful: np.ndarray) -> float:
    """Return the share of prompts that probes fitted without them classify correctly, in five folds."""
    folds = deal_folds(np.arange(len(benign) + len(harmful)) >= len(benign))
    of_benign, of_harmful = folds[: len(benign)], folds[len(benign) :]
    correct = 0
    for fold in range(FOLDS):
        probe = fit_harm_probe(benign[of_benign != fold], harmful[of_harmful != fold])
        correct += int((probe.probability(benign[of_benign == fold]) <= 0.5).sum())
        correct += int((probe.probability(harmful[of_harmful == fold]) > 0.5).sum())
    return correct / len(folds)
