"""What two observations have in common: their names in tables, means over submodules, means over prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from prosafeprune.analysis.base import Observation
from prosafeprune.analysis.result import Cell
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


def changes_with_intervals(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> list[tuple[Cell, ...]]:
    """Return for each class its mean before and after, and the mean change prompt by prompt with its interval.

    Args:
        before: values ``(prompts,)`` by class.
        after: of the same prompts.
    """
    return [
        (name, float(one.mean()), float(after[name].mean()), *mean_with_interval(after[name] - one))
        for name, one in before.items()
    ]


CHANGE_COLUMNS = ("before", "after", "change", "low", "high")
"""What :func:`changes_with_intervals` tells of each class."""


def changes_told(rows: Sequence[Sequence[Cell]], what: str) -> str:
    """Return such changes as a sentence."""
    parts = [
        f"{name} {_number(before):.2f} to {_number(after):.2f} ({_number(change):+.2f}, 95 % {_number(low):+.2f} to "
        f"{_number(high):+.2f})"
        for name, before, after, change, low, high in rows
    ]
    return f"{what}: {'; '.join(parts)}."


def _number(cell: Cell) -> float:
    return float(str(cell))
