"""What the tests of `evaluate` and of `compare` share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


def prompt_options(files: dict[str, str]) -> list[str]:
    """Return the options that name these files of prompts, and leave the bundled ones out."""
    return ["--only-mine", *(part for name, file in files.items() for part in (f"--{name.replace('_', '-')}", file))]


def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no model be loaded from here on."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("prosafeprune.evaluation.targets.load_model", load)


def prompts_asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each prompt that a model is asked from here on is added."""
    from prosafeprune.generation import LocalGenerator  # torch takes seconds, and conftest.py imports this file

    asked: list[str] = []
    generate = LocalGenerator.answer

    def answer(self: Any, prompts: Sequence[str], decoding: Any) -> Any:
        asked.extend(prompts)
        return generate(self, prompts, decoding)

    monkeypatch.setattr(LocalGenerator, "answer", answer)
    return asked


def answers_in(folder: Path) -> dict[str, str]:
    """Return the answers kept in the folder of an evaluation, by prompt."""
    rows = [json.loads(line) for line in (folder / "answers.jsonl").open()]
    return {row["prompt"]: row["completion"] for row in rows}
