"""Graded answers and the accuracy computed from them; asking the questions that have no answer yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from prosafeprune.ability.number_answers import number_text, parse_number, read_number
from prosafeprune.ability.option_answers import parse_option
from prosafeprune.ability.questions import AbilityQuestion
from prosafeprune.evaluation.measure import store_answer
from prosafeprune.evaluation.scores import Change, Rate, change, rate
from prosafeprune.files.line_store import LineStore
from prosafeprune.generation import Decoding, Generator
from prosafeprune.progress import Reporter, partial_answers


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


class AbilityComparison(BaseModel):
    """The scores of an earlier run and the changes since, question by question."""

    scores: dict[str, TaskScore]
    changes: dict[str, Change]


@dataclass(frozen=True)
class AbilityResult:
    """The graded answers to the questions of each task, in the order of the questions."""

    graded: Mapping[str, Sequence[GradedAnswer]]

    @property
    def scores(self) -> dict[str, TaskScore]:
        """The score on each task."""
        return {task: task_score(answers) for task, answers in self.graded.items()}

    def against(self, earlier: "AbilityResult") -> AbilityComparison:
        """Return the changes since an earlier run with the same questions."""
        outcomes = [
            {task: [answer.correct for answer in answers] for task, answers in result.graded.items()}
            for result in (earlier, self)
        ]
        changes = {task: change(outcomes[0][task], outcomes[1][task]) for task in self.graded}
        return AbilityComparison(scores=earlier.scores, changes=changes)


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
    title: str = "General ability",
) -> AbilityResult:
    """Answer the questions that have no answer yet, saving each as it arrives; return all of them graded.

    Raises:
        InputError: as the generator does.
    """
    waiting = [question.prompt for question in questions if (0, question.prompt) not in kept]
    if waiting:
        decoding = Decoding(max_new_tokens=max_new_tokens)
        generator = make_generator()
        with reporter.stage(title, len(waiting)) as advance, partial_answers(advance) as progress:
            for index, answer in generator.answer(waiting, decoding):
                store_answer(kept, 0, waiting[index], answer)
                progress.finish()
    return grade_kept(kept, questions)


def grade_kept(kept: LineStore, questions: Sequence[AbilityQuestion]) -> AbilityResult:
    """Return the graded answers to questions that all have one."""
    graded: dict[str, list[GradedAnswer]] = {question.task: [] for question in questions}
    for question in questions:
        row = kept[0, question.prompt]
        graded[question.task].append(grade(question, str(row["completion"]), finished=bool(row["finished"])))
    return AbilityResult(graded)
