"""Published methods against their slow implementations, token for token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

import helpers.slow_baselines as slow
from helpers.baseline_runs import BENIGN, HARMFUL, PROMPTS, TOKENS, fit_context, same_in_batches
from prosafeprune.baselines.method import FittedParts
from prosafeprune.baselines.scan import Scan
from prosafeprune.baselines.surgical import Surgical
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel


def scan_agrees(tiny: LoadedModel) -> None:
    cosines = slow.scan_cosines(tiny, PROMPTS, HARMFUL, 1)
    threshold = sum(sorted(cosines)[1:3]) / 2  # two of the five are benign, three harmful
    method = Scan(threshold=threshold, first_layer=1, end_layer=3)
    fitted = method.fit(fit_context(tiny))
    vectors = slow.scan_vectors(tiny, HARMFUL, BENIGN)
    torch.testing.assert_close(fitted.tensors["vectors"], vectors, atol=1e-4, rtol=1e-3)
    layers = list(find_anatomy(tiny.model).layers)
    expected = [
        slow.scan(tiny, layers, prompt, TOKENS, vectors, range(1, 3), 3.5 if cosine >= threshold else -3.5)
        for prompt, cosine in zip(PROMPTS, cosines, strict=True)
    ]
    same_in_batches(tiny, method, fitted, expected)


def surgical_agrees(tiny: LoadedModel, parts: Sequence[nn.Module]) -> None:
    """Compare the ablation of a random direction; ``parts`` write into the residual stream."""
    torch.manual_seed(3)
    direction = torch.nn.functional.normalize(torch.randn(48), dim=0)
    with slow.without(list(find_anatomy(tiny.model).layers), list(parts), direction):
        expected = [slow.plain(tiny, prompt, TOKENS) for prompt in PROMPTS]
    same_in_batches(tiny, Surgical(), FittedParts({"direction": direction}), expected)
