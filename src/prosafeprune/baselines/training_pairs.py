"""Pairs of prompts and answers from a file of the user's, such as FalseReject's training set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from prosafeprune.baselines.own_answers import Pair
from prosafeprune.errors import InputError
from prosafeprune.prompts.rows import Row, csv_rows, json_rows, require_complete_characters

PROMPT_FIELDS = ("prompt", "instruction", "question")
ANSWER_FIELDS = ("instruct_response", "response", "answer", "completion", "output")
"""The first one present is used. ``instruct_response`` is the plain answer of FalseReject's training set
(arXiv:2505.08054), whose ``cot_response`` has a chain of thought."""


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs of pseudo-harmful prompts and helpful answers from a .jsonl or .csv file, the first of each prompt.

    Raises:
        InputError: no such file, another type of file, a row without prompt or answer, or no row at all.
    """
    kind = path.suffix.lower()
    if kind not in (".jsonl", ".csv"):
        raise InputError(f"{path}: training pairs are read from .jsonl and .csv files; convert it to one of them.")
    pairs: dict[str, Pair] = {}
    for number, row in json_rows(path) if kind == ".jsonl" else csv_rows(path):
        prompt, answer = (_text(row, fields, f"{path}, line {number}") for fields in (PROMPT_FIELDS, ANSWER_FIELDS))
        pairs.setdefault(prompt, Pair(prompt, answer, finished=True))
    if not pairs:
        raise InputError(f"{path}: has no rows. Give at least one prompt with its answer.")
    return list(pairs.values())


def pairs_hash(pairs: list[Pair]) -> str:
    """Return the sha256 over prompts and answers, in order."""
    digest = hashlib.sha256()
    for text in _texts(pairs):
        digest.update(text.encode(errors="replace"))
        digest.update(b"\0")
    return digest.hexdigest()


def _texts(pairs: list[Pair]) -> Iterator[str]:
    for pair in pairs:
        yield pair.prompt
        yield pair.answer


def _text(row: Row, fields: tuple[str, ...], place: str) -> str:
    field = next((name for name in fields if name in row), None)
    if field is None:
        there = ", ".join(str(name) for name in row)[:200]
        raise InputError(
            f"{place}: no column '{fields[0]}' among: {there}. Others that are read: {', '.join(fields[1:])}."
        )
    text = row[field]
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{place}: '{field}' is empty or not text. Fix or remove the row.")
    require_complete_characters(text, place)
    return text.strip()
