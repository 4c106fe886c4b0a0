"""Prompt files with all their fields, for commands that pass rows on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.prompts.conversation import last_turn
from prosafeprune.prompts.prompt_set import Prompt, PromptClass, PromptSet
from prosafeprune.prompts.rows import Row, field_rows, place_of, prompt_lines
from prosafeprune.prompts.sources import FILE_TYPES, prompt_of_row


@dataclass(frozen=True)
class PromptRow:
    """A row of a prompt file."""

    line: int
    """Number of the line in the file, from 1."""
    prompt: str
    """Plain text, or a conversation."""
    fields: Mapping[str, Any]
    """All fields of the row, with the user's last turn as ``prompt``."""


def read_prompt_rows(path: Path, field: str) -> list[PromptRow]:
    """Return the rows of a .jsonl, .json, .csv or .txt file, in order, repeats included.

    The prompt is in ``field``, or in ``messages``, as for :func:`read_prompts`.

    Raises:
        InputError: no such file, a row that cannot be read, or no row.
    """
    ending = path.suffix.lower()
    if ending not in FILE_TYPES:
        raise InputError(f"{path}: prompts are read from {', '.join(FILE_TYPES)} files; convert it to one of them.")
    if ending == ".txt":
        rows: Iterable[tuple[int, Row]] = ((number, {field: line}) for number, line in prompt_lines(path))
    else:
        rows = field_rows(path)
    read = []
    for number, row in rows:
        prompt = prompt_of_row(row, [field], place_of(path, number))
        read.append(PromptRow(number, prompt, {**row, "prompt": last_turn(prompt)}))
    if not read:
        raise InputError(f"{path}: has no prompts. Give at least one.")
    return read


def as_prompt_set(rows: Sequence[PromptRow], source: str) -> PromptSet:
    """Return the prompts of rows as a set, of no class in particular."""
    prompts = tuple(Prompt(row.prompt, line=row.line) for row in rows)
    return PromptSet(PromptClass.PSEUDO_HARMFUL, source, prompts)
