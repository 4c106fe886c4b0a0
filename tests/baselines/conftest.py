"""Fixtures of the tests of methods."""

from __future__ import annotations

import pytest
from helpers.training_runs import KindJudge


@pytest.fixture
def kind_judge(monkeypatch: pytest.MonkeyPatch) -> KindJudge:
    judge = KindJudge()
    monkeypatch.setattr("prosafeprune.judge.builtin.BuiltinJudge", lambda: judge)
    monkeypatch.setattr("prosafeprune.judge.judging.broken_reason", lambda prompt, answer: "")
    return judge
