"""Prompt files with all their fields, for commands that pass rows on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.prompts.prompt_set import Prompt, PromptClass, PromptSet
from prosafeprune.prompts.rows import Row, csv_rows, json_rows, text_lines
from prosafeprune.text import SURROGATE

FILE_TYPES = (".jsonl", ".csv", ".txt")


@dataclass(frozen=True)
class PromptRow:
    """A row of a prompt file."""

    line: int
    """In the file, from 1."""
    prompt: str
    """The request; of a conversation, its last turn."""
    fields: Mapping[str, Any]
    """All fields of the row, with the request as ``prompt``."""

    @property
    def earlier(self) -> list[tuple[str, str]]:
        """The turns before the request, each a role and what it says, where the row has ``messages``."""
        messages = self.fields.get("messages")
        if not isinstance(messages, list):
            return []
        return [(str(one["role"]), str(one["content"])) for one in messages[:-1] if {"role", "content"} <= set(one)]


def read_prompt_rows(path: Path, field: str) -> list[PromptRow]:
    """Return the rows of a .jsonl, .csv or .txt file, in order, repeats included.

    The prompt is in ``field``, or in the last of ``messages`` where there is no such field.

    Raises:
        InputError: no such file, a row that cannot be read, or no row.
    """
    ending = path.suffix.lower()
    if ending not in FILE_TYPES:
        raise InputError(f"{path}: prompts are read from {', '.join(FILE_TYPES)} files; convert it to one of them.")
    if ending == ".txt":
        lines = text_lines(path)
        rows: Iterable[tuple[int, Row]] = ((number, {field: line}) for number, line in lines if line.strip())
    else:
        rows = csv_rows(path) if ending == ".csv" else json_rows(path)
    read = [_checked(row, number, path, field) for number, row in rows]
    if not read:
        raise InputError(f"{path}: has no prompts. Give at least one.")
    return read


def as_prompt_set(rows: Sequence[PromptRow], source: str) -> PromptSet:
    """Return the prompts of rows as a set, of no class in particular."""
    prompts = tuple(Prompt(row.prompt, line=row.line) for row in rows)
    return PromptSet(PromptClass.PSEUDO_HARMFUL, source, prompts)


def _checked(row: Row, number: int, path: Path, field: str) -> PromptRow:
    messages = row.get("messages")
    text = row.get(field)
    if field not in row and isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        text = messages[-1].get("content")
    elif field not in row:
        there = ", ".join(map(str, row))[:200]
        raise InputError(f"{path}, line {number}: no column '{field}' among: {there}. Name it with --prompt-field.")
    if not isinstance(text, str) or not text.strip() or SURROGATE.search(text):
        raise InputError(f"{path}, line {number}: '{field}' is empty or not text. Fix or remove the row.")
    return PromptRow(number, text.strip(), {**row, "prompt": text.strip()})
