"""Refusal judges."""

from prosafeprune.judges.judging import judge_answers
from prosafeprune.judges.rules.rules_judge import RulesJudge
from prosafeprune.judges.verdict import AnswerClass, Exchange, Judge, Verdict

__all__ = ["AnswerClass", "Exchange", "Judge", "RulesJudge", "Verdict", "judge_answers"]
