"""Linear probes: logistic regressions on a model's hidden states, with cross-fitted probabilities and held-out AUC.

The playground, the rating of prompts and the analyses use them. Searches of version 0.1 scored plans by them.
"""

import random
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS = 5
RIDGES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
"""Candidate ridge penalties, the strongest last; the one with the lowest held-out log loss on the base's verdicts is
used."""
WEAK_AUC = 0.8
"""Held-out AUC below which a probe says little; for harm in a real chat model of 135 M parameters it is 0.99."""
Probe = Callable[[np.ndarray], np.ndarray]
"""Maps states ``(n, d)`` to the probability ``(n,)`` of an outcome."""


class CrossFitted:
    """Ridge logistic regressions by cross-fitting: each prompt's probability comes from a fit without that prompt.

    With more dimensions than prompts, the probability of a prompt that was fitted on is near 0 or 1, and does not show
    how close the prompt is to flipping.
    """

    def __init__(self, states: np.ndarray, outcomes: np.ndarray) -> None:
        """Fit the probes.

        Args:
            states: the base model's hidden states, ``(prompts, d)``.
            outcomes: the outcome of each prompt's answer, ``(prompts,)``, bool.
        """
        self.folds = deal_folds(outcomes)
        fits = {ridge: self._fit(states, outcomes, ridge) for ridge in RIDGES}
        held_out = {ridge: self._apply(probes, states) for ridge, probes in fits.items()}
        self.ridge = min(RIDGES, key=lambda ridge: log_loss(outcomes, held_out[ridge], labels=[False, True]))
        self._probes = fits[self.ridge]
        both = bool(outcomes.any() and not outcomes.all())
        self.auc = float(roc_auc_score(outcomes, held_out[self.ridge])) if both else None
        """Held-out AUC on the base model's verdicts: 0.5 is chance, 1 perfect; None when all outcomes are equal."""

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """Return the probabilities ``(prompts,)`` of the outcome for states ``(prompts, d)`` of the same prompts."""
        return self._apply(self._probes, states)

    def _fit(self, states: np.ndarray, outcomes: np.ndarray, ridge: float) -> list[Probe]:
        return [fit_probe(states[self.folds != fold], outcomes[self.folds != fold], ridge) for fold in range(FOLDS)]

    def _apply(self, probes: list[Probe], states: np.ndarray) -> np.ndarray:
        probabilities = np.empty(len(states))
        for fold, probe in enumerate(probes):
            if (self.folds == fold).any():
                probabilities[self.folds == fold] = probe(states[self.folds == fold])
        return probabilities


def deal_folds(outcomes: np.ndarray) -> np.ndarray:
    """Return the fold ``(prompts,)`` of each prompt: stratified by outcome, in a fixed order."""
    shuffle = random.Random(0)
    order: list[int] = []
    for outcome in (False, True):
        group = np.flatnonzero(outcomes == outcome).tolist()
        shuffle.shuffle(group)
        order += group
    folds = np.empty(len(outcomes), dtype=int)
    folds[order] = np.arange(len(outcomes)) % FOLDS
    return folds


def fit_probe(states: np.ndarray, outcomes: np.ndarray, ridge: float) -> Probe:
    """Return a logistic regression on standardised states ``(n, d)``; a constant when all outcomes are equal."""
    if len(outcomes) == 0 or outcomes.all() or not outcomes.any():
        share = float(outcomes.mean()) if len(outcomes) else 0.5
        return lambda unseen: np.full(len(unseen), share)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / ridge, max_iter=1000))
    model.fit(states, outcomes)

    def probe(unseen: np.ndarray) -> np.ndarray:
        probabilities: np.ndarray = model.predict_proba(unseen)[:, 1]
        return probabilities

    return probe
