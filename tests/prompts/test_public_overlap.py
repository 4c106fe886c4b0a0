"""The check that bundled prompts are not those of public data."""

from __future__ import annotations

from pathlib import Path

import check_public_overlap
import pytest
from helpers.json_lines import write_rows

from prosafeprune.prompts import PromptClass, bundled_beyond, bundled_prompts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Public data in which no prompt is like a bundled one."""
    write_rows(tmp_path / "public.jsonl", [{"Goal": "Zyx wvu tsr qpo nml"}, {"Goal": "", "prompt": ""}])
    (tmp_path / "README.md").write_text("No prompts\n")
    return tmp_path


def test_public_data_without_bundled_prompts_passes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_public_overlap.main(data) == 0
    out = capsys.readouterr().out
    assert "public.jsonl, 1 prompts: 0\n" in out and out.endswith("In all: 0\n")


def test_every_bundled_set_is_compared(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = [
        bundled_prompts(PromptClass.HARMFUL, "calibration").texts[5],
        bundled_prompts(PromptClass.BENIGN, "validation").texts[7],
        bundled_prompts(PromptClass.PSEUDO_HARMFUL, "test").texts[9],
        bundled_beyond("domains", PromptClass.HARMFUL, "test").texts[3],
        bundled_beyond("languages", PromptClass.PSEUDO_HARMFUL, "calibration").texts[3],
    ]
    write_rows(data / "copied.jsonl", [{"question": f"{text.upper()} !"} for text in own])
    write_rows(data / "copied_too.jsonl", [{"instruction": own[0]}])
    assert check_public_overlap.main(data) == 1
    out = capsys.readouterr().out
    assert "copied.jsonl, 5 prompts: 5\n" in out and "copied_too.jsonl, 1 prompts: 1\n" in out
    assert "bundled calibration line 6" in out and "copied.jsonl line 1" in out
    assert out.endswith("In all: 5\n")


def test_a_folder_without_data_is_not_a_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [check_public_overlap.main(folder) for folder in (tmp_path, tmp_path / "none")] == [2, 2]
    assert "no such folder" in capsys.readouterr().out
