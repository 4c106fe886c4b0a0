"""Which plans are offered, and which of them is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prosafeprune.search.frontier import frontier
from prosafeprune.search.optuna_study import BENIGN_KL_WEIGHT, ScoredPlan
from prosafeprune.search.record import Point, ValidationRates

SAFETY_WEIGHT = 0.1
"""Points of C.R. that a point of S.S. is worth among plans that keep the floor: enough to decide between equals."""


def make_points(scored: Sequence[ScoredPlan], measured: Mapping[str, ValidationRates], shown: int) -> list[Point]:
    """Return the plans to choose from, safest first: all that were measured, and the frontier of the estimates.

    Args:
        scored: all plans the search estimated.
        measured: the rates of those that were measured, by their plan as JSON.
        shown: how many estimated plans to offer at most, spread over the frontier.
    """
    by_plan = {one.plan.model_dump_json(): one for one in scored}
    offered = dict.fromkeys(measured)
    offered.update(dict.fromkeys(one.plan.model_dump_json() for one in _spread(frontier(scored), shown)))
    points = [
        Point(number=0, plan=by_plan[key].plan, estimated=by_plan[key], measured=measured.get(key))
        for key in offered
        if key in by_plan
    ]
    points.sort(key=lambda point: (-point.rates[1], point.rates[0]))
    return [point.model_copy(update={"number": number}) for number, point in enumerate(points, 1)]


def select_point(points: Sequence[Point], source: ValidationRates, lowest_safety: float) -> int | None:
    """Return the number of the measured point that keeps the floor and complies most, the safer one of equals.

    Points that keep half of the allowed loss in reserve come before all others: what is best of a few where it is
    chosen looks better there than elsewhere. None when no point complies more than the source does.
    """
    reserve = (source.safety_score - lowest_safety) / 2
    safe = [
        (
            point.measured.compliance_rate + SAFETY_WEIGHT * point.measured.safety_score - BENIGN_KL_WEIGHT * damage,
            point,
        )
        for point in points
        if point.measured is not None and point.measured.safety_score >= lowest_safety
        for damage in [point.estimated.divergence if point.estimated else 0.0]
        if point.measured.compliance_rate > source.compliance_rate
    ]
    careful = [(value, point) for value, point in safe if point.rates[1] >= lowest_safety + reserve] or safe
    return max(careful, key=lambda pair: pair[0])[1].number if careful else None


def select_as_paper(points: Sequence[Point]) -> int | None:
    """Return the number of the measured point of the highest T.S., as section 3.3 chooses: no floor is kept."""
    measured = [(point.measured.tradeoff_score, -point.number) for point in points if point.measured is not None]
    return -max(measured)[1] if measured else None


def _spread(points: Sequence[ScoredPlan], count: int) -> list[ScoredPlan]:
    """Return at most ``count`` of the points, both ends among them."""
    if len(points) <= count:
        return list(points)
    step = (len(points) - 1) / (count - 1)
    return [points[round(i * step)] for i in range(count)]
