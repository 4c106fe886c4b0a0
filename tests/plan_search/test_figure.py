"""The figure of a search and the numbers behind it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prosafeprune.errors import InputError
from prosafeprune.method.plan import Plan
from prosafeprune.plan_search.figure import draw_frontier
from prosafeprune.plan_search.scored_plan import ScoredPlan
from prosafeprune.plan_search.search_record import SearchRecord, ValidationRates

SCORED = [
    ScoredPlan(plan=Plan(layers=(layer,)), compliance_rate=50 + layer, safety_score=90, divergence=0.01)
    for layer in range(40)
]
RECORD = SearchRecord(
    made_by={},
    silhouettes={},
    candidates=tuple(range(40)),
    source=ValidationRates(compliance_rate=50, safety_score=90),
    lowest_safety=87,
    trials=len(SCORED),
    points=[],
    chosen=None,
)


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_the_earlier_figure_and_numbers_stay(tmp_path: Path) -> None:
    draw_frontier(RECORD, SCORED[:20], tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert first.keys() == {"frontier.svg", "frontier.png", "plans.csv"}
    lines = first["plans.csv"].decode().splitlines()
    assert (len(lines), lines[0]) == (21, "plan,compliance_rate,safety_score,divergence")
    with small_files(1000), pytest.raises(InputError, match="could not be written"):
        draw_frontier(RECORD, SCORED, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
