"""The Pareto frontier of scored plans, and which plans to confirm by generation."""

from collections.abc import Sequence

from prosafeprune.search.optuna_study import ScoredPlan


def frontier(scored: Sequence[ScoredPlan]) -> list[ScoredPlan]:
    """Return the Pareto frontier in C.R. and S.S., from the safest to the most compliant.

    Of plans with the same two rates, the one with the least benign KL is kept.
    """
    best: list[ScoredPlan] = []
    for one in sorted(scored, key=lambda s: (-s.safety_score, -s.compliance_rate, s.divergence)):
        if not best or one.compliance_rate > best[-1].compliance_rate:
            best.append(one)
    return best


def plans_to_confirm(
    scored: Sequence[ScoredPlan], lowest_safety: float, count: int, reserve: float
) -> list[ScoredPlan]:
    """Return at most ``count`` plans to measure by generation, the most promising first.

    Half of them are the best that clear the floor by ``reserve`` points, since estimates err; the others are the best
    that clear it at all. No two prune the same layers with the same harmful share.
    """
    safe = sorted((s for s in scored if s.safety_score >= lowest_safety), key=lambda s: -s.value)
    cautious = [s for s in safe if s.safety_score >= lowest_safety + reserve]
    selected: list[ScoredPlan] = []
    seen: set[tuple[tuple[int, ...], float | None]] = set()
    for pool, share in ((cautious, (count + 1) // 2), (safe, count)):
        for one in pool:
            if len(selected) >= share:
                break
            key = (one.plan.layers, one.plan.harmful_share)
            if key not in seen:
                selected.append(one)
                seen.add(key)
    return selected
