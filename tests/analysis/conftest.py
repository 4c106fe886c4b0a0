"""Fixtures of the tests of analyses."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.analysis_fixtures import answered, coarse_figures, no_figures, no_page_figures, odd_judge, questions
from helpers.fixture_types import Make
from helpers.sweep_context import make_context

from prosafeprune.analysis.context import Context

__all__ = ["answered", "coarse_figures", "no_figures", "no_page_figures", "odd_judge", "questions"]


@pytest.fixture(autouse=True)
def quick(odd_judge: None, coarse_figures: None) -> None:
    """Every test here has the rigged judge and coarse figures."""


@pytest.fixture
def context(checkpoint: Make, tmp_path: Path) -> Context:
    """A sweep's context on a tiny model."""
    return make_context(checkpoint("llama"), tmp_path / "answers")
