"""General ability: multiple-choice and arithmetic questions, answered and graded."""

from prosafeprune.ability.questions import Question, read_task, task_questions
from prosafeprune.ability.score import GradedAnswer, TaskScore, ask_questions, grade, task_score
from prosafeprune.ability.tasks import TASKS, AbilityTask, find_task

__all__ = [
    "TASKS",
    "AbilityTask",
    "GradedAnswer",
    "Question",
    "TaskScore",
    "ask_questions",
    "find_task",
    "grade",
    "read_task",
    "task_questions",
    "task_score",
]
