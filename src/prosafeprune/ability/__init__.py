"""General ability: multiple-choice and arithmetic questions, answered and graded."""

from prosafeprune.ability.questions import Question, read_task
from prosafeprune.ability.score import TaskScore, ask_questions
from prosafeprune.ability.tasks import find_task

__all__ = ["Question", "TaskScore", "ask_questions", "find_task", "read_task"]
