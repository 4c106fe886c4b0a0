"""Which layers to search: each is scored alone, and the best are kept.

The silhouette ranks layers before anything is scored, and has a clear peak on large models. On the small models we
tried it is almost flat, and the layers whose pruning helped were elsewhere (docs/method.md), so the whole middle of the
model is screened besides the silhouette's window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from prosafeprune.method.separability import MIN_CANDIDATES
from prosafeprune.progress import Reporter
from prosafeprune.requests.budget import Budget
from prosafeprune.search.optuna_study import BENIGN_KL_WEIGHT, ScoredPlan

MOST_SCREENED = 16
"""Layers of the middle that are scored alone; in deeper models every second or third."""
SHARE_OF_TIME = 0.5
"""The largest share of a budget in minutes that screening may take."""


def layers_to_screen(window: Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Return the layers to score alone: the silhouette's window and the middle of the model.

    Table 10 finds the bottom and the top of a model useless; here the first quarter and the last eighth are left out.
    """
    first, last = num_layers // 4, num_layers - num_layers // 8
    step = max(1, math.ceil((last - first) / MOST_SCREENED))
    return tuple(sorted({*window, *range(first, last, step)}))


def screen(
    score: Callable[[int], ScoredPlan],
    layers: Sequence[int],
    known: dict[int, ScoredPlan],
    budget: Budget,
    reporter: Reporter,
) -> Iterator[dict[int, ScoredPlan]]:
    """Score each layer alone, every fourth first; yield all scores so far after each.

    Args:
        score: estimates the effect of pruning one layer at full strength.
        layers: the layers, in order.
        known: layers scored before.
        budget: of the whole search; once half of its minutes are spent, the remaining layers are skipped.
        reporter: called after each layer.
    """
    order = [layer for start in (0, 2, 1, 3) for layer in layers[start::4]]
    with reporter.stage("Screening layers", len(order)) as advance:
        for layer in order:
            if layer not in known:
                if len(known) >= MIN_CANDIDATES and budget.share_of_time() >= SHARE_OF_TIME:
                    return
                known = {**known, layer: score(layer)}
                yield known
            advance(1)


def best_layers(screened: Mapping[int, ScoredPlan], count: int) -> tuple[int, ...]:
    """Return the ``count`` layers that, pruned alone, raise T.S. most, less a penalty for benign KL; best first."""
    ranked = sorted(screened, key=lambda layer: (-_value(screened[layer]), layer))
    return tuple(ranked[:count])


def _value(scored: ScoredPlan) -> float:
    return (scored.compliance_rate + scored.safety_score) / 2 - BENIGN_KL_WEIGHT * scored.divergence
