"""The plans that a search draws from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Trial

from prosafeprune.method.plan import Plan, Pooling, Projection

MOST_LAYERS = 6
"""Layers in one plan. With the paper's operator four are too many for small models; a fitted projection allows six."""
COMBINED = (2, 3, 4, 6)
"""How many of the best layers are combined before anything is drawn."""
RANKS = (8, 16, 32)
LOWEST_STRENGTH, STRENGTH_STEP = 0.2, 0.05
FIRST_RANK = 16
WINDOW_LENGTHS = (1, 2, 4, 8)
"""Of the windows that ``--strategy paper`` measures."""


@dataclass(frozen=True)
class SearchSpace:
    """The parts that plans are drawn from."""

    candidates: Sequence[int]
    """Layers, ranked by their score alone, the best first."""
    poolings: Sequence[Pooling]
    """The most likely first."""
    ranks: Sequence[int]
    projection: Projection


def starting_points(space: SearchSpace) -> list[dict[str, Any]]:
    """Return the trials to run first: each candidate alone, the best few combined, and pairs of neighbours.

    All at full strength with the first pooling; then the best few combined with the other poolings. Layers that do
    little alone may do much in combination.
    """
    rank = FIRST_RANK if FIRST_RANK in space.ranks else space.ranks[0]
    ranked, in_order = space.candidates, sorted(space.candidates)
    best = [tuple(ranked[:count]) for count in COMBINED if count <= len(ranked)]
    pairs = [tuple(in_order[start : start + 2]) for start in range(len(in_order) - 1)]
    first = [(space.poolings[0], layers) for layers in (*((layer,) for layer in ranked), *best, *pairs)]
    others = [(pooling, layers) for pooling in space.poolings[1:] for layers in best]
    return [
        {"pooling": pooling.value, "rank": rank, "layers": len(layers)}
        | {f"layer_{number}": layer for number, layer in enumerate(layers, 1)}
        | {f"strength_{number}": 1.0 for number in range(1, len(layers) + 1)}
        for pooling, layers in (*first, *others)
    ]


def draw_plan(trial: Trial, space: SearchSpace) -> Plan:
    """Draw a plan: the number of layers, each layer with its strength, and the rank and pooling of all.

    Layers are drawn one by one rather than switched on and off, so that most plans have few; duplicates count once.
    """
    pooling = Pooling(trial.suggest_categorical("pooling", [one.value for one in space.poolings]))
    rank = trial.suggest_categorical("rank", list(space.ranks))
    count = trial.suggest_int("layers", 1, min(MOST_LAYERS, len(space.candidates)))
    strengths: dict[int, float] = {}
    for number in range(1, count + 1):
        layer = trial.suggest_categorical(f"layer_{number}", list(space.candidates))
        strength = trial.suggest_float(f"strength_{number}", LOWEST_STRENGTH, 1.0, step=STRENGTH_STEP)
        strengths.setdefault(layer, round(strength, 2))
    layers = tuple(sorted(strengths))
    return Plan(
        layers=layers,
        rank=rank,
        strength=tuple(strengths[layer] for layer in layers),
        pooling=pooling,
        projection=space.projection,
    )


def paper_windows(
    candidates: Sequence[int], peak: int, pooling: Pooling, rank: int, projection: Projection, strength: float
) -> list[Plan]:
    """Return the windows of consecutive candidates that ``--strategy paper`` measures, the most likely first.

    Table 5's windows hold 1, 2, 4 or more layers. Section 3.3 does not say which were tried; here, those of 1, 2, 4
    and 8 layers, short ones first, each length from the peak of the silhouette outwards.
    """
    plans = []
    for length in WINDOW_LENGTHS:
        starts = range(len(candidates) - length + 1)
        windows = [tuple(candidates[start : start + length]) for start in starts]
        windows.sort(key=lambda layers: abs(sum(layers) / len(layers) - peak))
        plans += [
            Plan(layers=layers, rank=rank, strength=strength, pooling=pooling, projection=projection)
            for layers in windows
        ]
    return plans
