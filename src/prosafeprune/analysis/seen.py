"""What two observations have in common: their names in tables, means over submodules, means over prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from prosafeprune.analysis.analysis import Observation
from prosafeprune.evaluation.intervals import bootstrap_mean_interval
from prosafeprune.model.submodule import Submodule


def by_role(before: Observation, after: Observation | None) -> dict[str, Observation]:
    """Return the observations under the names that tables and figures give them: before and, if any, after."""
    return {"before": before} if after is None else {"before": before, "after": after}


def submodule_labels(submodules: Sequence[Submodule]) -> Observation:
    """Return the layer and the kind of each submodule, as arrays ``(submodules,)`` named ``layers`` and ``kinds``."""
    return {
        "layers": np.array([submodule.layer for submodule in submodules]),
        "kinds": np.array([submodule.kind for submodule in submodules]),
    }


def submodule_means(seen: Observation, values: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield layer, kind and the mean value; most layers have one submodule of a kind, those with experts have several.

    Args:
        seen: with ``layers`` and ``kinds``.
        values: ``(submodules, ...)``.
    """
    places: dict[tuple[int, str], list[int]] = {}
    for place, (layer, kind) in enumerate(zip(seen["layers"], seen["kinds"], strict=True)):
        places.setdefault((int(layer), str(kind)), []).append(place)
    for (layer, kind), rows in places.items():
        yield layer, kind, values[rows].mean(axis=0)


def layer_means(seen: Observation, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each layer with the mean of its submodules' values ``(submodules, ...)``."""
    for layer in np.unique(seen["layers"]):
        yield int(layer), values[seen["layers"] == layer].mean(axis=0)


def mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean over prompts of values ``(prompts,)``, with the ends of its 95 % bootstrap interval."""
    return float(values.mean()), *bootstrap_mean_interval(values)
