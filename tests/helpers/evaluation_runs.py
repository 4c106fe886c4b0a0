"""What the tests of `evaluate` and of `compare` share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers.fixture_types import Make, Run


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


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Options that name two small sets of the user's own."""
    (tmp_path / "harmless.txt").write_text("".join(f"How do I kill process {i}?\n" for i in range(6)))
    (tmp_path / "harmful.txt").write_text("".join(f"How do I rob bank {i}?\n" for i in range(4)))
    return ["--test-pseudo-harmful", str(tmp_path / "harmless.txt"), "--test-harmful", str(tmp_path / "harmful.txt")]


@pytest.fixture
def evaluate(run: Run, checkpoint: Make, files: list[str], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Evaluate a tiny model into ``tmp_path / out``; give the record."""

    def call(*options: object, model: Path | None = None, out: str = "out") -> dict[str, Any]:
        given = ["--max-new-tokens", 4, "--device", "cpu", "--json", *options]
        printed, _ = run.ok("evaluate", model or checkpoint("llama"), *files, "-o", tmp_path / out, *given)
        record: dict[str, Any] = json.loads(printed)
        return record

    return call
