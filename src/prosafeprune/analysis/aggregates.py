"""Means and changes of observations: over submodules, over layers, over prompts."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from prosafeprune.analysis.result import Cell, Observation
from prosafeprune.evaluation.intervals import bootstrap_mean_interval
from prosafeprune.model.submodule import Submodule

CHANGE_COLUMNS = ("before", "after", "change", "low", "high")
"""What :func:`changes_with_intervals` returns for each class."""


def by_role(before: Observation, after: Observation | None) -> dict[str, Observation]:
    """Return the observations under their names in tables and figures: before and, if there is one, after."""
    return {"before": before} if after is None else {"before": before, "after": after}


def submodule_labels(submodules: Sequence[Submodule]) -> Observation:
    """Return the layer and the kind of each submodule, as arrays ``(submodules,)`` named ``layers`` and ``kinds``."""
    return {
        "layers": np.array([submodule.layer for submodule in submodules]),
        "kinds": np.array([submodule.kind for submodule in submodules]),
    }


def submodule_means(observation: Observation, values: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield layer, kind and mean value; most layers have one submodule of a kind, layers with experts several.

    Args:
        observation: with ``layers`` and ``kinds``.
        values: ``(submodules, ...)``.
    """
    rows: dict[tuple[int, str], list[int]] = {}
    for row, (layer, kind) in enumerate(zip(observation["layers"], observation["kinds"], strict=True)):
        rows.setdefault((int(layer), str(kind)), []).append(row)
    for (layer, kind), of_kind in rows.items():
        yield layer, kind, values[of_kind].mean(axis=0)


def layer_means(observation: Observation, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each layer with the mean of its submodules' values ``(submodules, ...)``."""
    for layer in np.unique(observation["layers"]):
        yield int(layer), values[observation["layers"] == layer].mean(axis=0)


def mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean over prompts of values ``(prompts,)``, and the bounds of its 95 % bootstrap interval."""
    return float(values.mean()), *bootstrap_mean_interval(values)


def changes_with_intervals(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> list[tuple[Cell, ...]]:
    """Return for each class its mean before and after, and the mean change per prompt with its interval.

    Args:
        before: values ``(prompts,)`` by class.
        after: values of the same prompts.
    """
    return [
        (name, float(values.mean()), float(after[name].mean()), *mean_with_interval(after[name] - values))
        for name, values in before.items()
    ]


def describe_changes(rows: Sequence[Sequence[Cell]], quantity: str) -> str:
    """Return such changes as a sentence."""
    parts = [
        f"{name} {_number(before):.2f} to {_number(after):.2f} ({_number(change):+.2f}, 95 % {_number(low):+.2f} to "
        f"{_number(high):+.2f})"
        for name, before, after, change, low, high in rows
    ]
    return f"{quantity}: {'; '.join(parts)}."


def _number(cell: Cell) -> float:
    return float(str(cell))
