"""General ability: multiple-choice and arithmetic questions, answered and graded."""

from prosafeprune.ability.questions import AbilityQuestion, read_questions, read_task
from prosafeprune.ability.score import AbilityComparison, AbilityResult, TaskScore, ask_questions, grade_kept
from prosafeprune.ability.tasks import find_task

__all__ = ["AbilityComparison", "AbilityQuestion", "AbilityResult", "TaskScore", "ask_questions", "find_task"]
__all__ += ["grade_kept", "read_questions", "read_task"]
