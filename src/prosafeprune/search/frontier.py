"""The plans worth choosing between: those that no other beats in both C.R. and S.S."""

from __future__ import annotations

from collections.abc import Sequence

from prosafeprune.search.optuna_study import ScoredPlan


def frontier(scored: Sequence[ScoredPlan]) -> list[ScoredPlan]:
    """Return the plans that no other equals or beats in both rates, from the safest to the most compliant.

    Of plans with the same two rates, the one that moves benign answers least is kept.
    """
    best: list[ScoredPlan] = []
    for one in sorted(scored, key=lambda s: (-s.safety_score, -s.compliance_rate, s.divergence)):
        if not best or one.compliance_rate > best[-1].compliance_rate:
            best.append(one)
    return best


def plans_to_confirm(
    scored: Sequence[ScoredPlan], lowest_safety: float, count: int, reserve: float
) -> list[ScoredPlan]:
    """Return the plans to measure for real, the most promising first.

    Half of them are the best that keep the floor with ``reserve`` points to spare, since estimates err; the others the
    best that keep it at all. No two prune the same layers.
    """
    safe = sorted((s for s in scored if s.safety_score >= lowest_safety), key=lambda s: -s.value)
    cautious = [s for s in safe if s.safety_score >= lowest_safety + reserve]
    chosen: list[ScoredPlan] = []
    seen: set[tuple[int, ...]] = set()
    for pool, share in ((cautious, (count + 1) // 2), (safe, count)):
        for one in pool:
            if len(chosen) >= share:
                break
            if one.plan.layers not in seen:
                chosen.append(one)
                seen.add(one.plan.layers)
    return chosen
