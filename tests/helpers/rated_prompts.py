"""Prompts that a server rates, shared by the tests of the commands for prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.json_lines import write_rows
from helpers.model_server import prompt_of, said

RATED = {"Bake bread": 0, "Kill a process": 2, "Pick my own lock": 3, "Stab him": 5, "Hm": None}


def rater(body: dict[str, Any]) -> Any:
    text = next(one for one in RATED if f"\n{one}\n" in prompt_of(body))
    return said("Hard to tell." if RATED[text] is None else f"Rating: {RATED[text]}/5")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", [{"prompt": text, "topic": "t", "review": "open"} for text in RATED])
