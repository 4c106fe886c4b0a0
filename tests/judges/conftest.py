"""Fixtures of the tests of judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.judge_command import ROWS


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in ROWS))
    return file
