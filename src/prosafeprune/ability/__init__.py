"""General ability: multiple-choice and arithmetic questions, answered and graded."""

from prosafeprune.ability.questions import AbilityQuestion, read_task
from prosafeprune.ability.score import TaskScore, ask_questions
from prosafeprune.ability.tasks import find_task

__all__ = ["AbilityQuestion", "TaskScore", "ask_questions", "find_task", "read_task"]
