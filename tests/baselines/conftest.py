"""Fixtures of the tests of methods."""

from __future__ import annotations

import pytest
from helpers.training_runs import KindJudge


@pytest.fixture
def kind_judge(monkeypatch: pytest.MonkeyPatch) -> KindJudge:
    judge = KindJudge()
    for user in ("own_answers", "candidates"):
        monkeypatch.setattr(f"prosafeprune.baselines.{user}.BuiltinJudge", lambda: judge)
    monkeypatch.setattr("prosafeprune.judges.judging.broken_reason", lambda prompt, answer: "")
    return judge
