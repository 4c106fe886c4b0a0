"""How well the three prompt classes separate, submodule by submodule and layer by layer (section 3.3)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import silhouette_score

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.errors import InputError
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Advance, ignore
from prosafeprune.prompts.prompt_set import PromptClass

FEWEST, MOST = 5, 10
"""Candidate layers: 5 to 10, "based on model size"."""
LAYERS_TO_A_CANDIDATE = 4
"""A model of 40 layers has 10 candidates, one of 20 or fewer has 5."""


def silhouettes(
    inputs: PooledInputs,
    submodules: Sequence[Submodule],
    class_rows: Mapping[PromptClass, Sequence[int]],
    advance: Advance = ignore,
) -> dict[str, float]:
    """Return for each submodule, by name, the mean over prompts of the silhouette of the classes (Eq. 4).

    With ``a(i)`` the mean Euclidean distance of a prompt's pooled activation to the others of its class and ``b(i)``
    the least mean distance to another class, ``s(i) = (b(i) - a(i)) / max(a(i), b(i))``: 1 for classes far apart, 0
    for classes that lie in one another.

    Args:
        inputs: pooled inputs of these submodules.
        submodules: whose outputs to look at; no experts, which only some prompts reach.
        class_rows: which rows of the inputs belong to each class; at least two classes, one with two prompts or more.
        advance: told of each submodule that is done.

    Raises:
        InputError: too few prompts or classes.
    """
    rows = [row for one in class_rows.values() for row in one]
    labels = np.array([name.value for name, one in class_rows.items() for _ in one])
    if not 2 <= len(set(labels)) < len(labels):
        raise InputError("Separability needs two classes of prompts at least, and more prompts than classes.")
    found = {}
    for submodule in submodules:
        weight = submodule.weight()
        found[submodule.name] = silhouette(inputs.outputs(submodule, weight, rows).T.detach().cpu().numpy(), labels)
        advance(1)
    return found


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean silhouette (Eq. 4) of points ``(n, d)`` whose classes ``labels (n,)`` tell."""
    # Distances of points far from the origin lose digits; they do not change with it.
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    return float(silhouette_score(centred, labels))


def layer_silhouettes(submodules: Sequence[Submodule], by_submodule: Mapping[str, float]) -> dict[int, float]:
    """Return for each layer, in order, the mean silhouette of its submodules (section 3.3, figure 2)."""
    layers: dict[int, list[float]] = {}
    for submodule in sorted(submodules, key=lambda one: one.layer):
        layers.setdefault(submodule.layer, []).append(by_submodule[submodule.name])
    return {layer: statistics.fmean(values) for layer, values in layers.items()}


def candidate_count(num_layers: int) -> int:
    """Return how many layers to search: 5 to 10, by depth (section 3.3)."""
    return min(num_layers, max(FEWEST, min(MOST, num_layers // LAYERS_TO_A_CANDIDATE)))


def candidate_layers(by_layer: Mapping[int, float], num_layers: int) -> tuple[int, ...]:
    """Return the layers to search, in order: 5 to 10 around the one whose classes separate best (section 3.3).

    Args:
        by_layer: the silhouette of each layer.
        num_layers: how many layers the model has.
    """
    peak = max(by_layer, key=lambda layer: (by_layer[layer], -layer))
    count = candidate_count(num_layers)
    first = max(0, min(peak - count // 2, num_layers - count))
    return tuple(range(first, first + count))
