"""Which layers are worth searching: each is scored by itself, and the best are kept.

The silhouette names layers before anything is scored, and on large models it has a clear peak. On the small ones we
could try it is almost flat, and the layers whose pruning helped lay elsewhere (docs/method.md), so that its window is
looked at along with the whole middle of the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from prosafeprune.method.separability import MIN_CANDIDATES
from prosafeprune.progress import Reporter
from prosafeprune.requests.budget import Budget
from prosafeprune.search.optuna_study import BENIGN_KL_WEIGHT, ScoredPlan

MOST_SCREENED = 16
"""Layers of the middle that are scored by themselves; in deeper models every second or third."""
SHARE_OF_TIME = 0.5
"""Of a budget in minutes, what may go into screening."""


def layers_to_screen(window: Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Return the layers to score by themselves: the silhouette's window and the middle of the model.

    Table 10 finds the bottom and the top of a model no use; here the first quarter and the last eighth are left out.
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
    """Score each layer by itself, every fourth first; yield what is known after each.

    Args:
        score: estimates what pruning a layer at full strength does.
        layers: the layers, in order.
        known: those scored before.
        budget: of the whole search; when half of its minutes are spent, the layers left are left out.
        reporter: told of progress.
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
    """Return the ``count`` layers that by themselves raise T.S. most for the damage they do, the best first."""
    ranked = sorted(screened, key=lambda layer: (-_worth(screened[layer]), layer))
    return tuple(ranked[:count])


def _worth(scored: ScoredPlan) -> float:
    return (scored.compliance_rate + scored.safety_score) / 2 - BENIGN_KL_WEIGHT * scored.divergence
