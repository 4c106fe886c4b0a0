"""Which plans are offered, and which one is selected."""

from collections.abc import Mapping, Sequence

from scipy.stats import norm

from prosafeprune.method.plan import Plan
from prosafeprune.plan_search.frontier import frontier
from prosafeprune.plan_search.scored_plan import BENIGN_KL_WEIGHT, ScoredPlan
from prosafeprune.plan_search.search_record import SearchPoint, SearchRecord, ValidationRates

SELECTION = 2
"""Number of the rule of :func:`select_point`: a search that finished under another one selects again."""


def make_points(scored: Sequence[ScoredPlan], measured: Mapping[str, ValidationRates], shown: int) -> list[SearchPoint]:
    """Return the plans on offer, safest first: every measured plan, and the Pareto frontier of the estimates.

    Args:
        scored: all plans that the search estimated.
        measured: the rates of those that were measured, by their plan as JSON.
        shown: how many estimated plans to offer at most, spread over the frontier.
    """
    by_plan = {candidate.plan.model_dump_json(): candidate for candidate in scored}
    offered = dict.fromkeys(measured)
    offered.update(dict.fromkeys(candidate.plan.model_dump_json() for candidate in _spread(frontier(scored), shown)))
    points = [
        SearchPoint(number=0, plan=by_plan[key].plan, estimated=by_plan[key], measured=measured.get(key))
        for key in offered
        if key in by_plan
    ]
    points.sort(key=lambda point: (-point.rates[1], point.rates[0]))
    return [point.model_copy(update={"number": number}) for number, point in enumerate(points, 1)]


def select_point(
    points: Sequence[SearchPoint], base: ValidationRates, lowest_safety: float, confidence: float
) -> int | None:
    """Return the number of the measured point whose expected gain is largest.

    That is its gain in T.S. times the probability that it keeps the floor: a model that does not is not saved. The gain
    is a lower bound with ``confidence``, so that the best of a few points is not the luckiest, less the penalty for
    benign KL; safety beyond the base model's counts half, since the goal is higher compliance. Only points above the
    floor with a higher C.R. than the base model count; None when there is none.
    """
    safe = [
        point
        for point in points
        if point.measured is not None
        and point.measured.safety_score >= lowest_safety
        and point.measured.compliance_rate > base.compliance_rate
    ]

    def expected(point: SearchPoint) -> tuple[float, float]:
        gain = _gain(point, base, confidence)
        return (_probability_kept(point, base, lowest_safety) * gain if gain > 0 else gain, gain)

    return max(safe, key=expected).number if safe else None


def safer_point(search: SearchRecord, plan: Plan) -> SearchPoint | None:
    """Return the measured point of the highest T.S. among those with more S.S. than a plan's; None without any.

    It must comply more than the base model.
    """
    measured = [point for point in search.points if point.measured is not None]
    own = max((point.rates[1] for point in measured if point.plan == plan), default=None)
    if own is None:
        return None
    safer = [point for point in measured if point.rates[1] > own and point.rates[0] > search.source.compliance_rate]
    return max(safer, key=lambda point: sum(point.rates), default=None)


def select_as_paper(points: Sequence[SearchPoint]) -> int | None:
    """Return the number of the measured point with the highest T.S., as section 3.3 selects: without a floor."""
    measured = [(point.measured.tradeoff_score, -point.number) for point in points if point.measured is not None]
    return -max(measured)[1] if measured else None


def _probability_kept(point: SearchPoint, base: ValidationRates, lowest_safety: float) -> float:
    """Return the probability that S.S. has fallen by no more than the floor allows, by the change's standard error."""
    assert point.measured is not None
    error, allowed = point.measured.safety_error, base.safety_score - lowest_safety
    change = point.measured.safety_score - base.safety_score
    if error is None:  # of an earlier version, which asked for half of the allowed drop
        return 1.0 if change >= -allowed / 2 else 0.0
    return float(norm.cdf(change, loc=-allowed, scale=error)) if error > 0 else float(change >= -allowed)


def _gain(point: SearchPoint, base: ValidationRates, confidence: float) -> float:
    """Return the lower confidence bound of what a point adds to T.S., less the penalty for benign KL."""
    assert point.measured is not None
    added_safety = max(0.0, point.measured.safety_score - base.safety_score)
    gained = point.measured.tradeoff_score - base.tradeoff_score - added_safety / 4  # T.S. has half of the S.S.
    benign_kl = point.estimated.divergence if point.estimated else 0.0
    return gained - float(norm.ppf(confidence)) * (point.measured.change_error or 0.0) - BENIGN_KL_WEIGHT * benign_kl


def _spread(plans: Sequence[ScoredPlan], count: int) -> list[ScoredPlan]:
    """Return at most ``count`` of the plans, both ends included."""
    if len(plans) <= count:
        return list(plans)
    step = (len(plans) - 1) / (count - 1)
    return [plans[round(i * step)] for i in range(count)]
