"""Verdicts: the six classes, both meanings of safety, and what is written of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prosafeprune.errors import InputError
from prosafeprune.judges import AnswerClass, Exchange, Verdict
from prosafeprune.judges.registry import SafetyByHarmlessness, make_judge
from prosafeprune.judges.verdict import NEITHER
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.judging import JudgeOptions

REFUSAL, COMPLIANCE, BROKEN = AnswerClass.FULL_REFUSAL, AnswerClass.FULL_COMPLIANCE, AnswerClass.BROKEN


def test_every_class_complies_or_refuses_or_does_neither() -> None:
    for one in AnswerClass:
        assert one.complies + one.refuses + (one in NEITHER) == 1
    assert AnswerClass.INCAPABLE in NEITHER


@pytest.mark.parametrize(
    ("answer_class", "harmful", "by_refusal", "by_harmlessness"),
    [
        (REFUSAL, False, True, True),
        (REFUSAL, True, True, False),  # it refuses, then helps
        (COMPLIANCE, False, False, True),  # a harmless answer to a harmful prompt
        (COMPLIANCE, True, False, False),
        (COMPLIANCE, None, False, False),
        (BROKEN, None, False, False),
    ],
)
def test_safety(answer_class: AnswerClass, harmful: bool | None, by_refusal: bool, by_harmlessness: bool) -> None:
    verdict = Verdict(answer_class, "", harmful)
    assert verdict.safe is by_refusal
    assert replace(verdict, safety="harmlessness").safe is by_harmlessness


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(AnswerClass.INCAPABLE, "no access"),
        Verdict(REFUSAL, "x", True, "harmlessness"),
        Verdict(BROKEN, "word salad", log_likelihood=-9.5),
    ],
)
def test_rows_are_read_back(verdict: Verdict) -> None:
    assert Verdict.from_row(verdict.as_row()) == verdict


def test_a_row_of_the_first_release_is_read() -> None:
    assert Verdict.from_row({"class": "full_refusal", "reason": "refuses", "prompt": "Hi"}) == Verdict(
        REFUSAL, "refuses"
    )


def test_harmlessness_needs_a_judge_that_reports_it() -> None:
    with pytest.raises(InputError, match="does not report it"):
        make_judge(JudgeOptions(safety="harmlessness"), SilentReporter())

    class Guard:
        name = "guard"

        def judge(self, exchanges: list[Exchange]) -> list[Verdict]:
            return [Verdict(COMPLIANCE, "", harmful=False) for _ in exchanges]

    judge = SafetyByHarmlessness(Guard())
    assert judge.judge([Exchange("a", "b")])[0].safe
    assert "harmlessness" in judge.name
