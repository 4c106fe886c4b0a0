"""The search for a plan: under a floor, within a budget, resumed from any line of its journal."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from helpers.pages import measurement, search_record

from prosafeprune.jobs.search_trials import rates_of
from prosafeprune.method.plan import Plan, Pooling, Projection
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.search import Budget
from prosafeprune.search.frontier import frontier, plans_to_confirm
from prosafeprune.search.optuna_study import best_of, search_plans
from prosafeprune.search.record import ValidationRates
from prosafeprune.search.scored_plan import ScoredPlan
from prosafeprune.search.search_space import SearchSpace, draw_plan, paper_windows, searched_layers
from prosafeprune.search.selection import make_points, safer_point, select_as_paper, select_point

SPACE = SearchSpace(range(10, 22), [Pooling.SEQUENCE, Pooling.TAIL], 16, Projection.OBLIQUE)
SMALL = SearchSpace(range(10, 16), [Pooling.SEQUENCE], 8, Projection.OBLIQUE)


def landscape(plan: Plan) -> ScoredPlan:
    """A model whose compliance rises with every layer pruned, but whose safety falls, from layer 18 on most of all."""
    compliance = 60 + sum((30 if layer >= 18 else 4) * plan.strength_of(layer) for layer in plan.layers)
    safety = 90 - sum((25 if layer >= 18 else 0.5) * plan.strength_of(layer) for layer in plan.layers)
    return ScoredPlan(plan=plan, compliance_rate=compliance, safety_score=safety, divergence=0.01 * len(plan.layers))


def run(
    journal: Path,
    budget: str,
    lowest: float = 87,
    score: Callable[[Plan], ScoredPlan] = landscape,
    space: SearchSpace = SPACE,
) -> list[ScoredPlan]:
    return search_plans(score, space, lowest, Budget(budget), journal, 0, SilentReporter())


def scored(compliance: float, safety: float, layer: int = 1, divergence: float = 0.0) -> ScoredPlan:
    return ScoredPlan(
        plan=Plan(layers=(layer,), strength=1.0),
        compliance_rate=compliance,
        safety_score=safety,
        divergence=divergence,
    )


def test_the_floor_holds_where_the_most_compliant_plan_breaks_it(tmp_path: Path) -> None:
    found = run(tmp_path / "journal", "40")
    most = max(found, key=lambda one: one.value)
    best = best_of(found, 87)
    assert best is not None
    assert most.safety_score < 87  # layer 18 was tried
    assert best.safety_score >= 87
    assert max(best.plan.layers) < 18
    assert best.compliance_rate > landscape(Plan(layers=(12, 13, 14), strength=1.0)).compliance_rate


def test_windows_spread_over_the_layers_are_tried_first(tmp_path: Path) -> None:
    found = run(tmp_path / "journal", "5")
    windows = [(one.plan.layers[0], len(one.plan.layers), one.plan.pooling.value) for one in found]
    best, second, _ = sorted(found[:3], key=lambda one: -one.value)
    assert windows[:3] == [(12, 4, "sequence"), (14, 4, "sequence"), (16, 4, "sequence")]
    assert windows[3:] == [(one.plan.layers[0], 4, "tail") for one in (best, second)]
    assert all(one.plan.strength == 1 for one in found)
    assert all(one.plan.projection is Projection.OBLIQUE for one in found)


def test_windows_are_of_neighbouring_layers_and_in_deep_models_start_at_every_few() -> None:
    deep = SearchSpace(searched_layers(80), [Pooling.LAST], 16, Projection.CONTRASTIVE)
    assert (deep.layers[0], deep.layers[-1], deep.step) == (20, 69, 3)
    assert deep.starts[:3] == [20, 23, 26]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        layers = draw_plan(study.ask(), deep).layers
        assert layers == tuple(range(layers[0], layers[-1] + 1))
        assert layers[0] in deep.starts
        assert set(layers) <= set(deep.layers)


def test_a_search_resumes_from_its_journal_cut_at_any_line(tmp_path: Path) -> None:
    run(tmp_path / "journal", "3", space=SMALL)
    lines = (tmp_path / "journal").read_bytes().splitlines(keepends=True)
    assert len(lines) > 20
    for cut in range(len(lines) + 1):
        torn = lines[cut][: len(lines[cut]) // 2] if cut < len(lines) else b""  # cut off, so that all before is intact
        journal = tmp_path / f"journal-{cut}"
        journal.write_bytes(b"".join(lines[:cut]) + torn)
        asked: list[Plan] = []

        def score(plan: Plan, asked: list[Plan] = asked) -> ScoredPlan:
            asked.append(plan)
            return landscape(plan)

        found = run(journal, "4", score=score, space=SMALL)
        assert len(found) >= 3
        assert len(asked) <= len(found)  # what the journal has is not scored again


def test_an_error_in_a_trial_leaves_the_others(tmp_path: Path) -> None:
    count = 0

    def fragile(plan: Plan) -> ScoredPlan:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return landscape(plan)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "journal", "10", score=fragile)
    before = count
    found = run(tmp_path / "journal", "12", score=fragile)
    assert count - before == 9  # the interrupted one included
    assert len(found) == 12


def test_equal_searches_find_the_same(tmp_path: Path) -> None:
    assert run(tmp_path / "one", "20") == run(tmp_path / "two", "20")


@pytest.mark.parametrize(
    ("text", "trials", "seconds"), [("60", 60, None), ("10m", None, 600), ("0.5 min", None, 30), ("1h", None, 3600)]
)
def test_a_budget_is_trials_or_a_time(text: str, trials: int | None, seconds: float | None) -> None:
    budget = Budget(text)
    assert (budget.trials, budget.seconds) == (trials, seconds)
    assert not budget.is_spent(59)
    assert budget.is_spent(60) == (trials is not None)


@pytest.mark.parametrize("text", ["", "ten", "0", "1.5", "-3", "0m"])
def test_an_invalid_budget_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="give a number of trials"):
        Budget(text)


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


def test_the_papers_windows_start_at_the_peak() -> None:
    plans = paper_windows(range(8, 14), 11, Pooling.SEQUENCE, 16, Projection.ORTHOGONAL, 0.9)
    assert [plan.layers for plan in plans[:3]] == [(11,), (10,), (12,)]
    assert [plan.layers for plan in plans if len(plan.layers) == 4] == [
        (9, 10, 11, 12),
        (10, 11, 12, 13),
        (8, 9, 10, 11),
    ]


def test_a_plan_has_one_strength_a_layer_or_one_for_all() -> None:
    plan = Plan(layers=(3, 5), strength=(0.2, 1.0))
    assert (plan.strength_of(3), plan.strength_of(5)) == (0.2, 1.0)
    assert Plan(layers=(3, 5), strength=0.7).strength_of(5) == 0.7
    with pytest.raises(ValueError, match="3 strengths"):
        Plan(layers=(3, 5), strength=(0.2, 1.0, 1.0))


@pytest.mark.parametrize(
    ("far_safety", "error"),
    [
        (89, None),  # by an earlier version: half of the allowed drop is left
        (89, 1.5),  # 89 - 1.28 x 1.5 = 87.1, above 87
        (87.6, 0.4),  # 87.1; the other one 87.5 - 1.28 x 0.4 = 86.99
    ],
)
def test_a_point_that_is_above_the_floor_with_confidence_comes_first(far_safety: float, error: float | None) -> None:
    base = ValidationRates(compliance_rate=60, safety_score=90)
    near = (ValidationRates(compliance_rate=80, safety_score=87.5, safety_error=error), 1)
    far = (ValidationRates(compliance_rate=70, safety_score=far_safety, safety_error=error), 2)

    def chosen(*measured: tuple[ValidationRates, int]) -> int:
        plans = [scored(rates.compliance_rate, rates.safety_score, layer) for rates, layer in measured]
        rates = {plan.plan.model_dump_json(): one for plan, (one, _) in zip(plans, measured, strict=True)}
        points = make_points(plans, rates, 5)
        number = select_point(points, base, 87, 0.9)
        return next(point.plan.layers[0] for point in points if point.number == number)

    assert chosen(near, far) == 2
    assert chosen(near) == 1


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


def test_a_search_tries_every_share_at_the_two_best_windows_first(tmp_path: Path) -> None:
    shares = (-0.2, 0.0, -0.1)
    space = SearchSpace(range(10, 22), [Pooling.LAST], 16, Projection.CONTRASTIVE, shares)
    found = run(tmp_path / "journal", "30", space=space)
    plans = [one.plan for one in found]
    assert [plan.harmful_share for plan in plans[:3]] == [shares[0]] * 3
    best, second, _ = (one.plan.layers for one in sorted(found[:3], key=lambda one: -one.value))
    assert best != plans[0].layers
    tried = [(plan.layers, plan.harmful_share) for plan in plans[3:7]]
    assert tried == [(best, 0.0), (second, 0.0), (best, -0.1), (second, -0.1)]
    assert {plan.harmful_share for plan in plans[7:]} <= set(shares)


@pytest.mark.parametrize(
    ("lowest", "order"),
    [(95.0, [-0.35, -0.45, -0.15, 0.0]), (89.0, [-0.35, -0.45, -0.15, 0.0]), (80.0, [-0.15, 0.0, -0.35, -0.45])],
)
def test_where_there_is_room_weaker_shares_come_first(lowest: float, order: list[float], tmp_path: Path) -> None:
    def one_window(plan: Plan) -> ScoredPlan:  # S.S. 90: under, near or well above the floor
        return ScoredPlan(plan=plan, compliance_rate=60, safety_score=90, divergence=0.001 * plan.layers[0])

    shares = (-0.25, -0.35, -0.45, -0.15, 0.0)
    space = SearchSpace(range(10, 22), [Pooling.LAST], 16, Projection.CONTRASTIVE, shares)
    found = run(tmp_path / "journal", "11", lowest, one_window, space)
    tried = [(one.plan.layers[0], one.plan.harmful_share) for one in found[3:]]
    assert tried == [(start, share) for share in order for start in (12, 14)]


@pytest.mark.parametrize(("depth", "expected"), [(1, (0,)), (3, (1, 2)), (28, tuple(range(7, 25)))])
def test_the_first_layer_of_several_is_not_searched(depth: int, expected: tuple[int, ...]) -> None:
    assert searched_layers(depth) == expected
