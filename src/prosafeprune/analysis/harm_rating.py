"""How harmful a model itself takes requests to be: a probe of harmful against benign prompts (A.1) rates others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prosafeprune.analysis.harm_probe import PROBE_CLASSES, cross_validated_accuracy
from prosafeprune.analysis.last_states import collect_last_states
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat import EncodedPrompt, encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts import bundled_prompts
from prosafeprune.search.probe import CrossFitted, Probe, fit_probe

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
    """Held-out, on the prompts that it was fitted to."""
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
    encoded = encode_prompts(loaded.tokenizer, [text for one in sets for text in one.texts])
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
