"""Which plans of a search are confirmed, offered and selected."""

from __future__ import annotations

import random

import pytest
from helpers.pages import measurement, search_record

from prosafeprune.jobs.search_trials import rates_of
from prosafeprune.method.plan import Plan, Projection
from prosafeprune.plan_search.frontier import frontier, plans_to_confirm
from prosafeprune.plan_search.scored_plan import ScoredPlan
from prosafeprune.plan_search.search_record import ValidationRates
from prosafeprune.plan_search.selection import make_points, safer_point, select_as_paper, select_point


def scored(compliance: float, safety: float, layer: int = 1, divergence: float = 0.0) -> ScoredPlan:
    return ScoredPlan(
        plan=Plan(layers=(layer,), strength=1.0),
        compliance_rate=compliance,
        safety_score=safety,
        divergence=divergence,
    )


def test_the_frontier_holds_all_plans_that_none_dominates() -> None:
    generator = random.Random(0)
    points = [scored(generator.randrange(40, 60), generator.randrange(70, 90), layer) for layer in range(60)]

    def dominates(one: ScoredPlan, two: ScoredPlan) -> bool:
        at_least = one.compliance_rate >= two.compliance_rate and one.safety_score >= two.safety_score
        return at_least and (one.compliance_rate, one.safety_score) != (two.compliance_rate, two.safety_score)

    best = frontier(points)
    assert not any(dominates(other, one) for one in best for other in points)
    rates = {(one.compliance_rate, one.safety_score) for one in best}
    assert all(
        any(dominates(one, point) for one in best)
        for point in points
        if (point.compliance_rate, point.safety_score) not in rates
    )
    assert [one.safety_score for one in best] == sorted((one.safety_score for one in best), reverse=True)


def test_of_equal_plans_the_one_with_less_benign_kl_is_on_the_frontier() -> None:
    assert frontier([scored(50, 80, 1, 0.2), scored(50, 80, 2, 0.1)])[0].plan.layers == (2,)


def test_plans_that_may_be_above_the_floor_are_confirmed() -> None:
    plans = [scored(90, 50, 1), scored(80, 86, 2), scored(79, 86, 3), scored(70, 89, 4), scored(60, 90, 5)]
    assert [one.plan.layers for one in plans_to_confirm(plans, 85, 3, error=2)] == [(4,), (5,), (2,)]
    assert [one.plan.layers for one in plans_to_confirm(plans, 88, 5, error=2)] == [(5,), (4,), (2,), (3,)]
    assert plans_to_confirm(plans, 95, 3, error=2) == []
    shares = [
        ScoredPlan(
            plan=Plan(layers=(1,), projection=Projection.CONTRASTIVE, harmful_share=share, strength=strength),
            compliance_rate=80,
            safety_score=90 + strength,
            divergence=0,
        )
        for share in (-0.2, 0.0)
        for strength in (0.5, 1.0)
    ]
    assert plans_to_confirm(shares, 85, 3, error=2) == [shares[1], shares[3]]
    stronger = shares[1].model_copy(update={"plan": shares[1].plan.model_copy(update={"strength": 1.5})})
    assert plans_to_confirm([*shares, stronger], 85, 4, error=2) == [shares[1], shares[3], stronger]


def test_the_selected_point_is_measured_above_the_floor_and_complies_more_than_the_base_model() -> None:
    plans = [scored(80, 90, 1), scored(75, 90, 2), scored(70, 90, 3), scored(90, 60, 4)]
    measured = {
        plans[0].plan.model_dump_json(): ValidationRates(compliance_rate=82, safety_score=84),
        plans[1].plan.model_dump_json(): ValidationRates(compliance_rate=74, safety_score=88),
        plans[2].plan.model_dump_json(): ValidationRates(compliance_rate=71, safety_score=92),
    }
    points = make_points(plans, measured, shown=5)
    base = ValidationRates(compliance_rate=60, safety_score=88)
    chosen = select_point(points, base, 85, 0.9)
    assert chosen is not None
    assert points[chosen - 1].plan.layers == (2,)  # half of what the third gains is safety beyond the base model's
    assert select_point(points, ValidationRates(compliance_rate=75, safety_score=88), 85, 0.9) is None
    paper = select_as_paper(points)
    assert paper is not None
    assert points[paper - 1].plan.layers == (1,)  # the best T.S., whatever the floor
    assert [point.number for point in points] == list(range(1, len(points) + 1))


def selected(base: ValidationRates, lowest: float, *measured: ValidationRates) -> int:
    """Return which of several measured points is selected, from 0."""
    plans = [scored(rates.compliance_rate, rates.safety_score, layer) for layer, rates in enumerate(measured)]
    rates = {plan.plan.model_dump_json(): one for plan, one in zip(plans, measured, strict=True)}
    points = make_points(plans, rates, 5)
    number = select_point(points, base, lowest, 0.9)
    return next(point.plan.layers[0] for point in points if point.number == number)


@pytest.mark.parametrize(
    ("near", "far"),
    [
        # By an earlier version: half of the allowed drop is left.
        ((80, 87.5, None), (70, 89, None)),
        # T.S. +8.75 and +6.75. A change of -2.5 is 0.625 errors above the -3 that are allowed (73 %: 6.42), one of -1.5
        # is 1.875 above it (97 %: 6.54).
        ((80, 87.5, 0.8), (75, 88.5, 0.8)),
    ],
)
def test_a_gain_counts_as_far_as_the_floor_is_likely_to_be_kept(
    near: tuple[float, float, float | None], far: tuple[float, float, float | None]
) -> None:
    base = ValidationRates(compliance_rate=60, safety_score=90)
    measured = [
        ValidationRates(compliance_rate=compliance, safety_score=safety, safety_error=error)
        for compliance, safety, error in (near, far)
    ]
    assert selected(base, 87, *measured) == 1
    assert selected(base, 87, measured[0]) == 0


def test_a_large_gain_that_may_fail_comes_before_none_that_may_pass() -> None:
    """As found on a 0.5 B model: the second plan's S.S. varies less, since it changes hardly any answer."""
    base = ValidationRates(compliance_rate=62.5, safety_score=49.3)
    large = ValidationRates(compliance_rate=81.2, safety_score=49.3, change_error=2.3, safety_error=2.9)
    none = ValidationRates(compliance_rate=64.6, safety_score=49.3, change_error=1.3, safety_error=2.0)
    safer = ValidationRates(compliance_rate=75.7, safety_score=56.9, change_error=2.3, safety_error=2.9)
    assert selected(base, 46.3, large, none) == 0
    assert selected(base, 46.3, large, none, safer) == 2


def test_a_change_within_the_floor_does_not_have_to_be_shown_by_validation_prompts() -> None:
    """As found on a 1.5 B model: the plan with twice the other's gain in C.R. is half an error above the floor."""
    base = ValidationRates(compliance_rate=66.7, safety_score=79.9)
    safer = ValidationRates(compliance_rate=83.3, safety_score=80.6, change_error=2.3, safety_error=2.9)
    larger = ValidationRates(compliance_rate=90.3, safety_score=78.5, change_error=2.3, safety_error=2.8)
    assert selected(base, 76.9, safer, larger) == 1
    below = larger.model_copy(update={"safety_score": 76.8})
    assert selected(base, 76.9, safer, below) == 0


def test_a_safer_point_refuses_more_than_the_plan_and_complies_more_than_the_base_model() -> None:
    rates = {1: (55, 95), 2: (70, 90), 3: (75, 88), 4: (80, 85), 5: (90, 80)}
    plans = {layer: scored(*both, layer) for layer, both in rates.items()}
    measured = {
        plan.plan.model_dump_json(): ValidationRates(compliance_rate=rates[layer][0], safety_score=rates[layer][1])
        for layer, plan in plans.items()
        if layer != 3  # estimated alone
    }
    base = ValidationRates(compliance_rate=60, safety_score=86)
    search = search_record().model_copy(
        update={"source": base, "points": make_points(list(plans.values()), measured, 5)}
    )
    found = {layer: safer_point(search, plans[layer].plan) for layer in rates}
    layers = {layer: point.plan.layers[0] if point is not None else None for layer, point in found.items()}
    assert layers == {1: None, 2: None, 3: None, 4: 2, 5: 4}


def test_the_point_with_the_highest_lower_bound_of_the_gain_in_ts_is_selected() -> None:
    base = ValidationRates(compliance_rate=60, safety_score=60)
    plans = [scored(80, 80, layer, divergence) for layer, divergence in ((1, 0.0), (2, 0.0), (3, 0.2))]
    errors = {1: (80, 82, 3.0), 2: (80, 80, 1.0), 3: (82, 80, 1.0)}

    def chosen(confidence: float) -> int:
        measured = {}
        for one in plans:
            compliance, safety, error = errors[one.plan.layers[0]]
            measured[one.plan.model_dump_json()] = ValidationRates(
                compliance_rate=compliance, safety_score=safety, change_error=error
            )
        points = make_points(plans, measured, 5)
        number = select_point(points, base, 57, confidence)
        return next(point.plan.layers[0] for point in points if point.number == number)

    assert chosen(0.5) == 1  # the estimate itself
    assert chosen(0.9) == 2  # a point less, and less of it by luck; the third is as good and costs two points of KL


def test_the_error_of_a_change_is_that_of_paired_differences() -> None:
    before, after = measurement(2, 4, total=4, refused_of=4), measurement(3, 4, total=4, refused_of=4)
    rates = rates_of(after, before)
    # Changes 0, 0, 1, 0 of C.R.: variance 3/16, so 100 sqrt(3/16/4) points; S.S. has none; T.S. is half of the sum.
    assert rates.change_error == pytest.approx(100 * (3 / 64) ** 0.5 / 2)
    assert rates.safety_error == 0
    assert (rates.compliance_rate, rates.safety_score) == (75, 100)
    assert rates_of(before).change_error is None
