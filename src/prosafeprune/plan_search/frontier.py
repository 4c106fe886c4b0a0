"""The best scored plan, the Pareto frontier of all, and which plans to confirm by generation."""

from collections.abc import Sequence

from prosafeprune.plan_search.scored_plan import ScoredPlan


def best_of(scored: Sequence[ScoredPlan], lowest_safety: float) -> ScoredPlan | None:
    """Return the plan of the highest value among those above the floor, or None."""
    safe = [plan for plan in scored if plan.safety_score >= lowest_safety]
    return max(safe, key=lambda plan: plan.value, default=None)


def frontier(scored: Sequence[ScoredPlan]) -> list[ScoredPlan]:
    """Return the Pareto frontier in C.R. and S.S., from the safest to the most compliant.

    Of plans with the same two rates, the one with the least benign KL is kept.
    """
    best: list[ScoredPlan] = []
    for candidate in sorted(scored, key=lambda s: (-s.safety_score, -s.compliance_rate, s.divergence)):
        if not best or candidate.compliance_rate > best[-1].compliance_rate:
            best.append(candidate)
    return best


def plans_to_confirm(scored: Sequence[ScoredPlan], lowest_safety: float, count: int, error: float) -> list[ScoredPlan]:
    """Return at most ``count`` plans to measure by generation, the most promising first.

    Estimates of S.S. err by about ``error`` points. Half of the plans are the best that clear the floor by as much;
    then come the best that clear it, and the best that may. No two prune the same layers with the same harmful share,
    unless one is at a strength above 1.
    """
    near = sorted((s for s in scored if s.safety_score >= lowest_safety - error), key=lambda s: -s.value)
    safe = [s for s in near if s.safety_score >= lowest_safety]
    cautious = [s for s in safe if s.safety_score >= lowest_safety + error]
    selected: list[ScoredPlan] = []
    seen: set[tuple[tuple[int, ...], float | None, bool]] = set()
    for pool, share in ((cautious, (count + 1) // 2), (safe, count), (near, count)):
        for candidate in pool:
            if len(selected) >= share:
                break
            key = (candidate.plan.layers, candidate.plan.harmful_share, candidate.plan.is_stronger)
            if key not in seen:
                selected.append(candidate)
                seen.add(key)
    return selected
