"""Graded answers and the accuracy computed from them; asking the questions that have no answer yet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from prosafeprune.ability.number_answers import number_text, parse_number, read_number
from prosafeprune.ability.option_answers import parse_option
from prosafeprune.ability.questions import AbilityQuestion
from prosafeprune.evaluation.scores import Rate, rate
from prosafeprune.files.line_store import LineStore
from prosafeprune.generation import Decoding, Generator
from prosafeprune.progress import Reporter


@dataclass(frozen=True)
class GradedAnswer:
    """What a model's answer to a question gives."""

    task: str
    finished: bool
    """False when the answer was cut off at the token limit."""
    parsed: str | None
    """The option letter or number read from the answer; None if there is none."""
    correct: bool


class TaskScore(BaseModel):
    """Accuracy on one task."""

    task: str
    accuracy: Rate
    """Percentage of correct answers; answers without a readable result count as wrong."""
    unparsed: int
    """Number of answers without a readable result."""
    cut: int
    """Number of answers cut off at the token limit; some may still be readable."""


def grade(question: AbilityQuestion, answer_text: str, *, finished: bool = True) -> GradedAnswer:
    """Return the graded answer to a question. ``finished`` is False when it was cut off at the token limit."""
    if question.options:
        parsed = parse_option(answer_text, question.options, finished=finished)
        correct = parsed == question.gold
    else:
        number = parse_number(answer_text, finished=finished)
        parsed = None if number is None else number_text(number)
        correct = number is not None and number == read_number(question.gold)
    return GradedAnswer(question.task, finished, parsed, correct)


def task_score(graded: Sequence[GradedAnswer]) -> TaskScore:
    """Return the score on one task from its graded answers.

    Raises:
        ValueError: there are none, or they are of several tasks.
    """
    tasks = {answer.task for answer in graded}
    if len(tasks) != 1:
        raise ValueError(f"expected answers of exactly one task, got {sorted(tasks)}")
    return TaskScore(
        task=tasks.pop(),
        accuracy=rate(sum(answer.correct for answer in graded), len(graded)),
        unparsed=sum(answer.parsed is None for answer in graded),
        cut=sum(not answer.finished for answer in graded),
    )


def ask_questions(
    kept: LineStore,
    make_generator: Callable[[], Generator],
    questions: Sequence[AbilityQuestion],
    max_new_tokens: int,
    reporter: Reporter,
) -> dict[str, TaskScore]:
    """Answer the questions that have no answer yet, saving each as it arrives; return the score on each task.

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
    return {task: task_score([answer for answer in graded if answer.task == task]) for task in tasks}
