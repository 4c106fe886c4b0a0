"""Which layers are searched: each scored alone, the best kept, within the time budget."""

from __future__ import annotations

import pytest

from prosafeprune.method.plan import Plan
from prosafeprune.progress import SilentReporter
from prosafeprune.requests import budget as budget_room
from prosafeprune.requests.budget import Budget
from prosafeprune.search.optuna_study import ScoredPlan
from prosafeprune.search.screening import MOST_SCREENED, best_layers, layers_to_screen, screen


def scored(layer: int, compliance: float = 50.0, safety: float = 50.0, divergence: float = 0.0) -> ScoredPlan:
    plan = Plan(layers=(layer,), strength=1.0)
    return ScoredPlan(plan=plan, compliance_rate=compliance, safety_score=safety, divergence=divergence)


def test_the_middle_and_the_window_of_the_silhouette_are_screened() -> None:
    assert layers_to_screen((1, 2), 24) == (1, 2, *range(6, 21))
    assert layers_to_screen((), 2) == (0, 1)
    for depth in (32, 64, 80):
        layers = layers_to_screen((3,), depth)
        assert 3 in layers
        assert len(layers) <= MOST_SCREENED + 1
        assert max(layers) >= depth * 3 // 4


def test_the_best_raise_the_tradeoff_score_at_least_benign_kl() -> None:
    found = {1: scored(1, 60, 50), 2: scored(2, 90, 10), 3: scored(3, 50, 62), 4: scored(4, 60, 50, divergence=0.5)}
    assert best_layers(found, 2) == (3, 1)  # layer 2 only moves along the trade-off
    assert best_layers(found, 3) == (3, 1, 2)  # 50, less than 55 with a penalty of 5 points: of equals the first
    assert best_layers(found, 9) == (3, 1, 2, 4)


def test_known_layers_are_not_scored_again_and_a_budget_in_trials_scores_all() -> None:
    asked: list[int] = []

    def score(layer: int) -> ScoredPlan:
        asked.append(layer)
        return scored(layer)

    *_, last = screen(score, range(10), {3: scored(3)}, Budget("1"), SilentReporter())
    assert sorted(asked) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert sorted(last) == list(range(10))
    assert asked[:3] == [0, 4, 8]  # the coarse picture first


def test_screening_takes_at_most_half_of_the_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(budget_room.time, "monotonic", lambda: now)

    def score(layer: int) -> ScoredPlan:
        nonlocal now
        now += 10.0
        return scored(layer)

    *_, last = screen(score, range(16), {}, Budget("2m"), SilentReporter())
    assert len(last) == 6
    now = 0.0
    *_, last = screen(score, range(16), {}, Budget("0.1m"), SilentReporter())
    assert len(last) == 5  # fewer would leave nothing to search
