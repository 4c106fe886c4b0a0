"""The plans that a search draws from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Trial

from prosafeprune.method.plan import Plan, Pooling, Projection

MOST_LAYERS = 6
"""Layers in one plan. By the paper's operator four are too many for small models; by a fitted one, six may do well."""
TOGETHER = (2, 3, 4, 6)
"""How many of the best layers are tried together before anything is drawn."""
RANKS = (8, 16, 32)
WEAKEST, STEP = 0.2, 0.05
FIRST_RANK = 16


@dataclass(frozen=True)
class SearchSpace:
    """What plans may consist of."""

    candidates: Sequence[int]
    """Layers to draw from, the best by itself first."""
    poolings: Sequence[Pooling]
    ranks: Sequence[int]
    projection: Projection


def starting_points(ranked: Sequence[int], poolings: Sequence[Pooling], ranks: Sequence[int]) -> list[dict[str, Any]]:
    """Return what is tried first: each candidate by itself, the best few together, and neighbours.

    All at full strength, by the first pooling; then the best few together by the others. Layers that do little alone
    may do much together.

    Args:
        ranked: candidate layers, the best by itself first.
        poolings: the likeliest first.
        ranks: to draw from.
    """
    rank = FIRST_RANK if FIRST_RANK in ranks else ranks[0]
    in_order = sorted(ranked)
    best = [tuple(ranked[:count]) for count in TOGETHER if count <= len(ranked)]
    pairs = [tuple(in_order[start : start + 2]) for start in range(len(in_order) - 1)]
    first = [(poolings[0], layers) for layers in (*((layer,) for layer in ranked), *best, *pairs)]
    others = [(pooling, layers) for pooling in poolings[1:] for layers in best]
    return [
        {"pooling": pooling.value, "rank": rank, "layers": len(layers)}
        | {f"layer_{place}": layer for place, layer in enumerate(layers, 1)}
        | {f"strength_{place}": 1.0 for place in range(1, len(layers) + 1)}
        for pooling, layers in (*first, *others)
    ]


def draw_plan(
    trial: Trial,
    candidates: Sequence[int],
    poolings: Sequence[Pooling],
    ranks: Sequence[int],
    projection: Projection,
) -> Plan:
    """Draw a plan: how many layers, which, each with its strength, and the rank and pooling of all.

    Layers are drawn one by one, not switched on and off, so that most plans have few. One drawn twice counts once.
    """
    pooling = Pooling(trial.suggest_categorical("pooling", [one.value for one in poolings]))
    rank = trial.suggest_categorical("rank", list(ranks))
    count = trial.suggest_int("layers", 1, min(MOST_LAYERS, len(candidates)))
    strengths: dict[int, float] = {}
    for place in range(1, count + 1):
        layer = trial.suggest_categorical(f"layer_{place}", list(candidates))
        strength = trial.suggest_float(f"strength_{place}", WEAKEST, 1.0, step=STEP)
        strengths.setdefault(layer, round(strength, 2))
    layers = tuple(sorted(strengths))
    return Plan(
        layers=layers,
        rank=rank,
        strength=tuple(strengths[layer] for layer in layers),
        pooling=pooling,
        projection=projection,
    )


def paper_windows(
    candidates: Sequence[int], peak: int, pooling: Pooling, rank: int, projection: Projection, strength: float
) -> list[Plan]:
    """Return the windows of consecutive candidates that ``--strategy paper`` measures, the likeliest first.

    Table 5's windows hold 1, 2, 4 or more layers. Section 3.3 does not say which were tried; here, those of 1, 2, 4
    and 8 layers, short ones first and each length from the peak of the silhouette outwards.
    """
    plans = []
    for length in (1, 2, 4, 8):
        starts = range(len(candidates) - length + 1)
        windows = [tuple(candidates[start : start + length]) for start in starts]
        windows.sort(key=lambda layers: abs(sum(layers) / len(layers) - peak))
        plans += [
            Plan(layers=layers, rank=rank, strength=strength, pooling=pooling, projection=projection)
            for layers in windows
        ]
    return plans
