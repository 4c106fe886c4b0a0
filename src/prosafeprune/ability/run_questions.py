"""Answering and grading questions of general ability; answers are saved as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prosafeprune.ability.questions import Question
from prosafeprune.ability.score import TaskScore, grade, task_score
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
    """Answer the questions that have no answer yet, saving each as it arrives; return the score on each task.

    Args:
        kept: the answers so far.
        make_generator: called only if an answer is missing.
        questions: of one or more tasks.
        max_new_tokens: token limit of each answer.
        reporter: shows the progress.

    Raises:
        InputError: as the generator does.
    """
    waiting = [question.prompt for question in questions if (0, question.prompt) not in kept]
    if waiting:
        decoding = Decoding(max_new_tokens=max_new_tokens)
        generator = make_generator()
        with reporter.stage("General ability", len(waiting)) as advance:
            for index, answer in generator.answer(waiting, decoding):
                kept.add(0, waiting[index], completion=answer.text, finished=answer.finished)
                advance(1)
    graded = [
        grade(question, str(row["completion"]), finished=bool(row["finished"]))
        for question in questions
        for row in [kept[0, question.prompt]]
    ]
    tasks = dict.fromkeys(question.task for question in questions)
    return {task: task_score([one for one in graded if one.task == task]) for task in tasks}
