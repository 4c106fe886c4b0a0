"""Refusal judges."""

from prosafeprune.judge.judging import judge_answers
from prosafeprune.judge.rules.rules_judge import RulesJudge
from prosafeprune.judge.verdict import AnswerClass, Exchange, Judge, Verdict

__all__ = ["AnswerClass", "Exchange", "Judge", "RulesJudge", "Verdict", "judge_answers"]
