"""The search for a plan: under a floor, within a budget, resumed from any line of its journal."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from prosafeprune.errors import InputError
from prosafeprune.method.plan import Plan, Pooling, Projection
from prosafeprune.method.separability import candidate_layers
from prosafeprune.plan_search.frontier import best_of
from prosafeprune.plan_search.optuna_study import search_plans
from prosafeprune.plan_search.scored_plan import ScoredPlan
from prosafeprune.plan_search.search_space import SearchSpace, draw_plan, paper_windows, searched_layers
from prosafeprune.progress import Advance, EarlierSteps, SilentReporter, Status
from prosafeprune.requests.search import PAPER_BUDGET, Budget, SearchOptions

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


def test_the_floor_holds_where_the_most_compliant_plan_breaks_it(tmp_path: Path) -> None:
    found = run(tmp_path / "journal", "40")
    most = max(found, key=lambda one: one.value)
    best = best_of(found, 87)
    assert best is not None
    assert most.safety_score < 87  # layer 18 was tried
    assert best.safety_score >= 87
    assert max(best.plan.layers) < 18
    assert best.compliance_rate > landscape(Plan(layers=(12, 13, 14), strength=1.0)).compliance_rate


class Steps(SilentReporter):
    """Keeps the steps of the stage."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    @contextmanager
    def stage(self, title: str, total: int, status: Status | None = None) -> Iterator[Advance]:
        yield self.steps.append


def test_a_resumed_search_reports_the_trials_of_the_earlier_run_as_such(tmp_path: Path) -> None:
    run(tmp_path / "journal", "3")
    reporter = Steps()
    search_plans(landscape, SPACE, 87, Budget("5"), tmp_path / "journal", 0, reporter)
    assert reporter.steps == [3, 1, 1]
    assert [isinstance(each, EarlierSteps) for each in reporter.steps] == [True, False, False]


def test_any_seed_of_the_command_can_be_searched_with(tmp_path: Path) -> None:
    for seed in (2**32 - 1, 2**63 - 1):
        found = search_plans(landscape, SPACE, 87, Budget("9"), tmp_path / str(seed), seed, SilentReporter())
        assert len(found) > 5


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


@pytest.mark.parametrize("written", [0, 1, 40])
def test_a_full_disk_is_not_called_damage_and_costs_no_trial(
    written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, appended = JournalFileBackend.append_logs, 0

    def fills(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        nonlocal appended
        appended += 1
        if appended > written:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, logs)

    with monkeypatch.context() as patch, pytest.raises(InputError) as raised:
        patch.setattr(JournalFileBackend, "append_logs", fills)
        run(tmp_path / "journal", "12")
    assert f"{tmp_path / 'journal'}: could not be written (No space left on device)" in str(raised.value)
    assert "Remove it" not in str(raised.value)
    assert len(run(tmp_path / "journal", "7")) == len(run(tmp_path / "undisturbed", "7"))


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


def test_the_papers_windows_start_at_the_peak_with_each_length_by_turns() -> None:
    plans = paper_windows(range(8, 14), 11, Pooling.SEQUENCE, 16, Projection.ORTHOGONAL, 0.9)
    assert [plan.layers for plan in plans[:4]] == [(11,), (10, 11), (9, 10, 11, 12), (10,)]
    assert [plan.layers[0] for plan in plans if len(plan.layers) == 1] == [11, 10, 12, 9, 13, 8]
    assert [plan.layers for plan in plans if len(plan.layers) == 4] == [
        (9, 10, 11, 12),
        (10, 11, 12, 13),
        (8, 9, 10, 11),
    ]
    shares = paper_windows(range(8, 14), 11, Pooling.SEQUENCE, 16, Projection.CONTRASTIVE, 0.9, -0.3)
    assert {plan.harmful_share for plan in shares} == {-0.3}


@pytest.mark.parametrize("num_layers", [24, 28, 30, 32, 80])
def test_the_paper_measures_windows_of_every_length_by_default(num_layers: int) -> None:
    candidates = candidate_layers({layer: -abs(layer - num_layers // 2) for layer in range(num_layers)}, num_layers)
    plans = paper_windows(candidates, num_layers // 2, Pooling.SEQUENCE, 16, Projection.ORTHOGONAL, 0.9)
    assert {len(plan.layers) for plan in plans} == {1, 2, 4, 8}
    assert SearchOptions(strategy="paper").budget == PAPER_BUDGET
    assert (Budget(PAPER_BUDGET).trials or 0) >= len(plans)
    assert (SearchOptions(strategy="paper", budget="3").budget, SearchOptions().budget) == ("3", "10")


def test_a_plan_has_one_strength_a_layer_or_one_for_all() -> None:
    plan = Plan(layers=(3, 5), strength=(0.2, 1.0))
    assert (plan.strength_of(3), plan.strength_of(5)) == (0.2, 1.0)
    assert Plan(layers=(3, 5), strength=0.7).strength_of(5) == 0.7
    with pytest.raises(ValueError, match="3 strengths"):
        Plan(layers=(3, 5), strength=(0.2, 1.0, 1.0))


def test_fitted_projections_alone_take_strengths_above_1() -> None:
    assert Plan(layers=(3, 5), strength=(0.2, 2.0), projection=Projection.OBLIQUE).is_stronger
    for strength in (1.1, (0.2, 1.1)):
        with pytest.raises(ValueError, match=r"strength 1\.1 is above 1, the largest that the orthogonal"):
            Plan(layers=(3, 5), strength=strength)
    with pytest.raises(ValueError, match="less than or equal to 2"):
        Plan(layers=(3, 5), strength=2.1, projection=Projection.CONTRASTIVE)


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
    found = run(tmp_path / "journal", "14", lowest, one_window, space)
    tried = [(one.plan.layers[0], one.plan.harmful_share) for one in found[3:] if not one.plan.is_stronger]
    assert tried == [(start, share) for share in order for start in (12, 14)]


@pytest.mark.parametrize(
    ("projection", "lowest", "expected"),
    [
        (Projection.CONTRASTIVE, 87, [(1.5, -0.25), (2.0, -0.25), (2.0, -0.15)]),
        (Projection.CONTRASTIVE, 89, [(1.5, -0.25), (2.0, -0.25)]),  # no room above the floor
        (Projection.ORTHOGONAL, 87, []),
    ],
)
def test_the_best_plan_is_made_stronger_where_its_projection_is_fitted(
    projection: Projection, lowest: float, expected: list[tuple[float, float]], tmp_path: Path
) -> None:
    def stronger_is_better(plan: Plan) -> ScoredPlan:
        gained = 10 * plan.strength_of(plan.layers[0]) + plan.layers[0] - 10 * (plan.harmful_share == -0.45)
        return ScoredPlan(plan=plan, compliance_rate=60 + gained, safety_score=90, divergence=0)

    shares = (-0.25, -0.35, -0.45, -0.15) if projection is Projection.CONTRASTIVE else (None,)
    space = SearchSpace(range(10, 22), [Pooling.LAST, Pooling.TAIL, Pooling.USER], 16, projection, shares)
    found = run(tmp_path / "journal", "10", lowest, stronger_is_better, space)
    best = max(found[:7], key=lambda one: one.value).plan
    tried = [one.plan for one in found[7 : 7 + len(expected)]]
    assert [(plan.strength, plan.harmful_share) for plan in tried] == expected
    assert {plan.layers for plan in tried} <= {best.layers}
    assert {one.plan.strength for one in found[:7]} == {1.0}
    assert max(space.strengths) == (2.0 if expected else 1.0)


def test_a_search_interrupted_before_the_stronger_plans_tries_them_once(tmp_path: Path) -> None:
    space = SearchSpace(range(10, 22), [Pooling.LAST], 16, Projection.CONTRASTIVE, (-0.25, -0.35, -0.45))
    for budget in range(1, 10):
        found = run(tmp_path / "journal", str(budget), space=space)
    whole = run(tmp_path / "whole", "9", space=space)
    assert [one.plan for one in found] == [one.plan for one in whole]
    assert [one.plan.strength for one in found] == [1.0] * 7 + [1.5, 2.0]


@pytest.mark.parametrize(("depth", "expected"), [(1, (0,)), (3, (1, 2)), (28, tuple(range(7, 25)))])
def test_the_first_layer_of_several_is_not_searched(depth: int, expected: tuple[int, ...]) -> None:
    assert searched_layers(depth) == expected
