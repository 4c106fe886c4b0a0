"""Shared by test_alignment_tax and its neighbours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TUNED_ON, QUESTIONS = 6, 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"question": f"What is {n} and 1?", "answer": f"They are\n#### {n + 1}"} for n in range(QUESTIONS)]
    (folder / "gsm8k_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
