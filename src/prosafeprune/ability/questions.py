"""Questions of a task, from a local file or the hub, in any of the known layouts."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any, TypeGuard

from prosafeprune.ability.number_answers import number_text, read_number
from prosafeprune.ability.tasks import AbilityTask, find_task
from prosafeprune.errors import InputError, first_line
from prosafeprune.files.user_path import user_path
from prosafeprune.prompts.rows import json_rows, require_complete_characters
from prosafeprune.text import is_blank


@dataclass(frozen=True)
class AbilityQuestion:
    """One question as a prompt, and its answer."""

    task: str
    id: str
    """The task's name and the row number, from 1: the same in every sample of the same data."""
    prompt: str
    gold: str
    """The letter of the correct option, or the correct number."""
    options: Mapping[str, str]
    """The text of each option, by its letter; empty for questions with a numeric answer."""


def read_task(
    task: AbilityTask | str, data_dir: Path | str | None = None, samples: int | None = None, seed: int = 0
) -> list[AbilityQuestion]:
    """Return the questions of a task, from its file in ``data_dir`` or, without one, from the hub.

    Args:
        task: the task or its name.
        data_dir: folder with the task's file.
        samples: questions to draw, kept in the order of the data; by default as many as the paper draws. Data with no
            more than that is used completely.
        seed: the draw depends only on it and on the number of rows.

    Raises:
        InputError: no such task, file or dataset, or a row that is not a question of this task.
    """
    task = find_task(task) if isinstance(task, str) else task
    questions = task_questions(task, _from_folder(task, user_path(data_dir)) if data_dir else _from_hub(task))
    wanted = samples if samples is not None else task.samples
    if wanted is None or len(questions) <= wanted:
        return questions
    return [questions[i] for i in sorted(random.Random(seed).sample(range(len(questions)), wanted))]


def read_questions(
    tasks: Iterable[str], data_dir: Path | str | None = None, samples: int | None = None, seed: int = 0
) -> list[AbilityQuestion]:
    """Return the questions of several tasks, one task after the other. Raises InputError as :func:`read_task` does."""
    return [question for task in tasks for question in read_task(task, data_dir, samples, seed)]


def task_questions(task: AbilityTask, rows: Iterable[Mapping[str, Any]]) -> list[AbilityQuestion]:
    """Return the question of each row.

    Raises:
        InputError: a row is not a question of this task, or there is no row.
    """
    read = _number_question if task.answers_with == "number" else _option_question
    questions = [read(task, number, row) for number, row in enumerate(rows, 1)]
    if not questions:
        raise InputError(f"{task.title}: has no questions. Fetch {task.dataset} again.")
    return questions


def _number_question(task: AbilityTask, number: int, row: Mapping[str, Any]) -> AbilityQuestion:
    question, answer = _text(task, number, row, "question"), _field(task, number, row, task.answer_field)
    gold = read_number(str(answer).rpartition("####")[2])  # after the worked solution
    if gold is None:
        raise _error(task, number, f"'{task.answer_field}' ends in no number")
    return AbilityQuestion(task.name, f"{task.name}:{number}", task.fill(question), number_text(gold), {})


def _option_question(task: AbilityTask, number: int, row: Mapping[str, Any]) -> AbilityQuestion:
    question = _text(task, number, row, "question")
    options = _options(task, number, _field(task, number, row, "choices"))
    answer = _field(task, number, row, task.answer_field)
    gold = str(answer).strip()
    if gold not in options and gold in map(str, range(len(options))):
        gold = list(options)[int(gold)]  # the hub's MMLU counts from 0
    if gold not in options:
        raise _error(task, number, f"'{task.answer_field}' is {answer!r}, which is not one of {', '.join(options)}")
    lines = [question, *(f"{letter}. {text}" for letter, text in options.items())]
    return AbilityQuestion(task.name, f"{task.name}:{number}", task.fill("\n".join(lines)), gold, options)


def _options(task: AbilityTask, number: int, choices: Any) -> dict[str, str]:
    """Return the options by letter, from a list of texts, or from a list of letters and one of texts."""
    if isinstance(choices, Mapping):
        letters, texts = choices.get("label"), choices.get("text")
    else:
        letters, texts = list(ascii_uppercase), choices
    if not _are_texts(letters) or not _are_texts(texts) or not 2 <= len(texts) <= len(letters):
        raise _error(task, number, "'choices' is not a list of texts, or of 'label' and 'text' lists")
    return {str(letter): str(text).strip() for letter, text in zip(letters, texts, strict=False)}


def _are_texts(values: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(values, list | tuple) and all(isinstance(value, str | int | float) for value in values)


def _text(task: AbilityTask, number: int, row: Mapping[str, Any], field: str) -> str:
    text = _field(task, number, row, field)
    if not isinstance(text, str) or is_blank(text):
        raise _error(task, number, f"'{field}' is empty or not text")
    return text.strip()


def _field(task: AbilityTask, number: int, row: Mapping[str, Any], field: str) -> Any:
    if field not in row:
        raise _error(task, number, f"no field '{field}' among: {', '.join(map(str, row))[:200]}")
    require_complete_characters(row[field], f"{task.title}, question {number}")
    return row[field]


def _error(task: AbilityTask, number: int, what: str) -> InputError:
    return InputError(f"{task.title}, question {number}: {what}. {_how_to_get(task)}")


def _how_to_get(task: AbilityTask) -> str:
    configuration = f"'{task.configuration}', " if task.configuration else ""
    return (
        f"With access to the hub, datasets.load_dataset('{task.dataset}', {configuration}split='{task.split}')"
        f".to_json('{task.file_name}') writes the file; give its folder with --data-dir."
    )


def _from_folder(task: AbilityTask, folder: Path) -> Iterator[Mapping[str, Any]]:
    stem = task.file_name.removesuffix(".jsonl")
    found = [folder / task.file_name] if (folder / task.file_name).is_file() else sorted(folder.glob(f"{stem}*.jsonl"))
    if not found:
        raise InputError(f"{folder}: has no {task.file_name} ({task.title}). {_how_to_get(task)}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{folder}: {names} could each be {task.title}. Keep one, or rename one to {task.file_name}.")
    yield from (row for _, row in json_rows(found[0]))


def _from_hub(task: AbilityTask) -> Iterator[Mapping[str, Any]]:
    import datasets

    try:
        rows = datasets.load_dataset(task.dataset, task.configuration, split=task.split)
    except Exception as error:
        raise InputError(
            f"{task.title}: {task.dataset} cannot be loaded from the hub ({first_line(error)}). {_how_to_get(task)}"
        ) from error
    yield from rows
