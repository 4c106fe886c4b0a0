"""A linear probe of harmfulness (A.1), of harmful against benign prompts, and the ratings of prompts by it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from prosafeprune.analysis.last_states import collect_last_states
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import EncodedPrompt, encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.plan_search.probe import FOLDS, CrossFitted, Probe, deal_folds, fit_probe
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, bundled_prompts

PROBE_CLASSES = (PromptClass.BENIGN, PromptClass.HARMFUL)
"""The classes that probes are fitted to, in the order of the arguments below."""
SMALLEST = 1e-10
"""Directions with less than this share of the largest variance are rounding errors, and dropped."""


@dataclass(frozen=True)
class HarmProbe:
    """Gives the probability that a prompt is harmful from its pooled activation ``(d,)``."""

    weights: np.ndarray
    """One weight for each coordinate of the activation, ``(d,)``."""
    intercept: float

    def probability(self, activations: np.ndarray) -> np.ndarray:
        """Return the probabilities ``(n,)`` for activations ``(n, d)``."""
        probabilities: np.ndarray = expit(activations @ self.weights + self.intercept)
        return probabilities


def fit_harm_probe(benign: np.ndarray, harmful: np.ndarray) -> HarmProbe:
    """Fit scikit-learn's logistic regression with ridge 1 to standardised activations, each ``(n, d)``.

    With a ridge penalty the weights stay in the span of the prompts, so the fit uses coordinates of that span: the
    result is the same, with fewer dimensions. Activations that are the same for every prompt, as those of the first
    layer's q, k and v at the last token, say nothing: the probability is then the share of harmful prompts.
    """
    activations = np.concatenate([benign, harmful])
    varies = np.ptp(activations, axis=0) > 0
    if not varies.any():
        return HarmProbe(np.zeros(activations.shape[1]), float(np.log(len(harmful) / len(benign))))
    labels = np.arange(len(activations)) >= len(benign)
    mean = activations.mean(axis=0)
    scale = np.where(varies, activations.std(axis=0), 1.0)
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


FITTED_TO = 200
"""Bundled calibration prompts of each class that the probe is fitted to, as many as the paper's."""
CHUNK = 512
"""Prompts whose states of all layers are in memory at a time."""


@dataclass(frozen=True)
class HarmRater:
    """Gives the probability that a prompt is harmful, from the state of its last token after one layer."""

    loaded: LoadedModel
    anatomy: Anatomy
    batch_size: BatchSize
    layer: int
    """The layer whose probes classify held-out prompts best, in the middle half of the model."""
    auc: float
    """Cross-validated area under the ROC curve, on the prompts that the probes were fitted to."""
    probe: Probe

    def probabilities(self, prompts: Sequence[EncodedPrompt], reporter: Reporter) -> np.ndarray:
        """Return the probability of harm of each prompt, ``(prompts,)``.

        Raises:
            InputError: a state is not finite, or out of memory.
        """
        found = np.empty(len(prompts))
        with reporter.stage("Rating", len(prompts)) as advance:
            for start in range(0, len(prompts), CHUNK):
                chunk = prompts[start : start + CHUNK]
                last = collect_last_states(self.loaded, self.anatomy, chunk, self.batch_size, advance)
                found[start : start + len(chunk)] = self.probe(last.states[self.layer].double().numpy())
        return found


def fit_harm_rater(loaded: LoadedModel, anatomy: Anatomy, batch_size: BatchSize, reporter: Reporter) -> HarmRater:
    """Fit the probe to bundled benign and harmful prompts; the ridge is the one with the lowest held-out log loss.

    Raises:
        InputError: a state is not finite, or out of memory.
    """
    sets = [bundled_prompts(name, "calibration").spread(FITTED_TO, seed=0) for name in PROBE_CLASSES]
    encoded = encode_prompts(loaded.tokenizer, [text for prompt_set in sets for text in prompt_set.texts])
    with reporter.stage("States of benign and harmful prompts", len(encoded)) as advance:
        states = collect_last_states(loaded, anatomy, encoded, batch_size, advance).states
    outcomes = np.arange(len(encoded)) >= len(sets[0])
    middle = range(anatomy.num_layers // 4, max(1, anatomy.num_layers - anatomy.num_layers // 4))
    accuracy = {}
    with reporter.stage("Probes", len(middle)) as advance:
        for layer in middle:
            of_layer = states[layer].double().numpy()
            accuracy[layer] = cross_validated_accuracy(of_layer[~outcomes], of_layer[outcomes])
            advance(1)
    best = max(middle, key=accuracy.__getitem__)
    of_layer = states[best].double().numpy()
    fitted = CrossFitted(of_layer, outcomes)
    probe = fit_probe(of_layer, outcomes, fitted.ridge)
    return HarmRater(loaded, anatomy, batch_size, best, fitted.auc or 0.5, probe)
