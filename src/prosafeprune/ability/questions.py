"""Questions of a task, from a local file or the hub, whichever of the known layouts their rows have."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from prosafeprune.ability.number_answers import number_text, read_number
from prosafeprune.ability.tasks import Task, find_task
from prosafeprune.errors import InputError
from prosafeprune.prompts.rows import json_rows


@dataclass(frozen=True)
class Question:
    """One question as it is asked, and its answer."""

    task: str
    id: str
    """Name of the task and place in its data, from 1: the same for every sample of the same data."""
    prompt: str
    gold: str
    """The letter of the right option, or the right number."""
    options: Mapping[str, str]
    """Text of each option by its letter; empty where a number is asked for."""


def read_task(
    task: Task | str, data_dir: Path | str | None = None, samples: int | None = None, seed: int = 0
) -> list[Question]:
    """Return the questions of a task, from its file in ``data_dir`` or, without one, from the hub.

    ``samples`` questions are drawn with ``seed``, the paper's number of them when it is None, and kept in the order of
    the data; data with no more than that come whole. The draw depends on the seed and the size of the data alone.

    Raises:
        InputError: no such task, file or dataset, or a row that is not a question of this task.
    """
    task = find_task(task) if isinstance(task, str) else task
    questions = task_questions(task, _from_folder(task, Path(data_dir).expanduser()) if data_dir else _from_hub(task))
    wanted = samples if samples is not None else task.samples
    if wanted is None or len(questions) <= wanted:
        return questions
    return [questions[i] for i in sorted(random.Random(seed).sample(range(len(questions)), wanted))]


def task_questions(task: Task, rows: Iterable[Mapping[str, Any]]) -> list[Question]:
    """Return the question of each row.

    Raises:
        InputError: a row that is not a question of this task, or no row at all.
    """
    read = _number_question if task.answers_with == "number" else _option_question
    questions = [read(task, number, row) for number, row in enumerate(rows, 1)]
    if not questions:
        raise InputError(f"{task.title}: holds no question. Fetch {task.dataset} again.")
    return questions


def _number_question(task: Task, number: int, row: Mapping[str, Any]) -> Question:
    question, answer = _text(task, number, row, "question"), _field(task, number, row, task.answer_field)
    gold = read_number(str(answer).rpartition("####")[2])  # the worked solution stands before the mark
    if gold is None:
        raise _error(task, number, f"'{task.answer_field}' ends in no number")
    return Question(task.name, f"{task.name}:{number}", task.fill(question), number_text(gold), {})


def _option_question(task: Task, number: int, row: Mapping[str, Any]) -> Question:
    question = _text(task, number, row, "question")
    options = _options(task, number, _field(task, number, row, "choices"))
    answer = _field(task, number, row, task.answer_field)
    gold = str(answer).strip()
    if gold not in options and gold.isdigit() and int(gold) < len(options):
        gold = list(options)[int(gold)]  # the hub's MMLU counts from 0
    if gold not in options:
        raise _error(task, number, f"'{task.answer_field}' is {answer!r}, which is none of {', '.join(options)}")
    lines = [question, *(f"{letter}. {text}" for letter, text in options.items())]
    return Question(task.name, f"{task.name}:{number}", task.fill("\n".join(lines)), gold, options)


def _options(task: Task, number: int, choices: Any) -> dict[str, str]:
    """Return the options by letter, from a list of texts or from a list of letters beside a list of texts."""
    if isinstance(choices, Mapping):
        letters, texts = choices.get("label"), choices.get("text")
    else:
        letters, texts = ascii_uppercase, choices
    if not isinstance(texts, list | tuple) or not letters or not 2 <= len(texts) <= len(letters):
        raise _error(task, number, "'choices' is neither a list of texts nor a 'label' list beside a 'text' list")
    return {str(letter): str(text).strip() for letter, text in zip(letters, texts, strict=False)}


def _text(task: Task, number: int, row: Mapping[str, Any], field: str) -> str:
    text = _field(task, number, row, field)
    if not isinstance(text, str) or not text.strip():
        raise _error(task, number, f"'{field}' is empty or not text")
    return text.strip()


def _field(task: Task, number: int, row: Mapping[str, Any], field: str) -> Any:
    if field not in row:
        raise _error(task, number, f"no field '{field}' among: {', '.join(map(str, row))}")
    return row[field]


def _error(task: Task, number: int, what: str) -> InputError:
    return InputError(f"{task.title}, question {number}: {what}. {_how_to_get(task)}")


def _how_to_get(task: Task) -> str:
    configuration = f"'{task.configuration}', " if task.configuration else ""
    return (
        f"Where the hub can be reached, datasets.load_dataset('{task.dataset}', {configuration}split='{task.split}')"
        f".to_json('{task.file_name}') writes the file; name its folder with --data-dir."
    )


def _from_folder(task: Task, folder: Path) -> Iterator[Mapping[str, Any]]:
    stem = task.file_name.removesuffix(".jsonl")
    found = [folder / task.file_name] if (folder / task.file_name).is_file() else sorted(folder.glob(f"{stem}*.jsonl"))
    if not found:
        raise InputError(f"{folder}: holds no {task.file_name} ({task.title}). {_how_to_get(task)}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{folder}: {names} might each be {task.title}. Keep one, or call one {task.file_name}.")
    yield from (row for _, row in json_rows(found[0]))


def _from_hub(task: Task) -> Iterator[Mapping[str, Any]]:
    import datasets

    try:
        rows = datasets.load_dataset(task.dataset, task.configuration, split=task.split)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{task.title}: {task.dataset} could not be loaded from the hub ({reason}). {_how_to_get(task)}"
        ) from error
    yield from rows
