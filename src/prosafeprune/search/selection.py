"""Which plans are offered, and which one is selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prosafeprune.search.frontier import frontier
from prosafeprune.search.optuna_study import BENIGN_KL_WEIGHT, ScoredPlan
from prosafeprune.search.record import SearchPoint, ValidationRates

SAFETY_WEIGHT = 0.1
"""Points of C.R. that a point of S.S. is worth among plans above the floor: a tie-breaker."""


def make_points(scored: Sequence[ScoredPlan], measured: Mapping[str, ValidationRates], shown: int) -> list[SearchPoint]:
    """Return the plans on offer, safest first: every measured plan, and the Pareto frontier of the estimates.

    Args:
        scored: all plans that the search estimated.
        measured: the rates of those that were measured, by their plan as JSON.
        shown: how many estimated plans to offer at most, spread over the frontier.
    """
    by_plan = {one.plan.model_dump_json(): one for one in scored}
    offered = dict.fromkeys(measured)
    offered.update(dict.fromkeys(one.plan.model_dump_json() for one in _spread(frontier(scored), shown)))
    points = [
        SearchPoint(number=0, plan=by_plan[key].plan, estimated=by_plan[key], measured=measured.get(key))
        for key in offered
        if key in by_plan
    ]
    points.sort(key=lambda point: (-point.rates[1], point.rates[0]))
    return [point.model_copy(update={"number": number}) for number, point in enumerate(points, 1)]


def select_point(points: Sequence[SearchPoint], base: ValidationRates, lowest_safety: float) -> int | None:
    """Return the number of the measured point above the floor with the highest C.R.; S.S. and benign KL break ties.

    Points that leave half of the allowed drop unused come before all others: the best of a few looks better on the
    prompts it was selected on than elsewhere. None when no point has a higher C.R. than the base model.
    """
    reserve = (base.safety_score - lowest_safety) / 2
    safe = [
        point
        for point in points
        if point.measured is not None
        and point.measured.safety_score >= lowest_safety
        and point.measured.compliance_rate > base.compliance_rate
    ]
    careful = [point for point in safe if point.rates[1] >= lowest_safety + reserve]
    return max(careful or safe, key=_value).number if safe else None


def select_as_paper(points: Sequence[SearchPoint]) -> int | None:
    """Return the number of the measured point with the highest T.S., as section 3.3 selects: without a floor."""
    measured = [(point.measured.tradeoff_score, -point.number) for point in points if point.measured is not None]
    return -max(measured)[1] if measured else None


def _value(point: SearchPoint) -> float:
    compliance, safety = point.rates
    benign_kl = point.estimated.divergence if point.estimated else 0.0
    return compliance + SAFETY_WEIGHT * safety - BENIGN_KL_WEIGHT * benign_kl


def _spread(plans: Sequence[ScoredPlan], count: int) -> list[ScoredPlan]:
    """Return at most ``count`` of the plans, both ends included."""
    if len(plans) <= count:
        return list(plans)
    step = (len(plans) - 1) / (count - 1)
    return [plans[round(i * step)] for i in range(count)]
