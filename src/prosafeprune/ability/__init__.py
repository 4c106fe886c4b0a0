"""General ability: multiple-choice and arithmetic questions, and what a careful reader takes from the answers."""

from prosafeprune.ability.questions import Question, read_task, task_questions
from prosafeprune.ability.run_questions import ask_questions
from prosafeprune.ability.score import Graded, TaskScore, grade, summarise
from prosafeprune.ability.tasks import TASKS, Task, find_task

__all__ = [
    "TASKS",
    "Graded",
    "Question",
    "Task",
    "TaskScore",
    "ask_questions",
    "find_task",
    "grade",
    "read_task",
    "summarise",
    "task_questions",
]
