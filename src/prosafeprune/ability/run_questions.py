"""A model's answers to questions of general ability, had once, kept, and graded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prosafeprune.ability.questions import Question
from prosafeprune.ability.score import TaskScore, grade, summarise
from prosafeprune.files.line_store import LineStore
from prosafeprune.generation import Decoding, Generator
from prosafeprune.progress import Reporter


def ask_questions(
    kept: LineStore,
    make_generator: Callable[[], Generator],
    questions: Sequence[Question],
    max_new_tokens: int,
    reporter: Reporter,
) -> dict[str, TaskScore]:
    """Answer the questions still open, keeping each answer as it comes; return the accuracy on each task.

    The generator is made only when an answer is missing.

    Raises:
        InputError: as the generator does.
    """
    waiting = [question.prompt for question in questions if (0, question.prompt) not in kept]
    if waiting:
        decoding = Decoding(max_new_tokens=max_new_tokens)
        generator = make_generator()
        with reporter.stage("General ability", len(waiting)) as advance:
            for place, answer in generator.answer(waiting, decoding):
                kept.add(0, waiting[place], completion=answer.text, finished=answer.finished)
                advance(1)
    graded = [
        grade(question, str(row["completion"]), finished=bool(row["finished"]))
        for question in questions
        for row in [kept[0, question.prompt]]
    ]
    tasks = dict.fromkeys(question.task for question in questions)
    return {task: summarise([one for one in graded if one.task == task]) for task in tasks}
