"""A run that fails leaves no empty folder behind, and keeps one that was there or in which something is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from prosafeprune.errors import InputError
from prosafeprune.files.claim import claimed
from prosafeprune.files.resumable_folder import ResumableFolder, locked_folder
from prosafeprune.files.staging import check_output


def failing(path: Path, kept: str | None = None) -> None:
    with pytest.raises(KeyError), locked_folder(path, overwrite=False):
        ResumableFolder(path, {"model": "m"})
        if kept is not None:
            (path / kept).write_text("{}")
        raise KeyError


def test_a_folder_in_which_nothing_was_done_is_removed_with_the_parents_made_for_it(tmp_path: Path) -> None:
    failing(tmp_path / "deep" / "er" / "out")
    assert list(tmp_path.iterdir()) == []


def test_work_that_was_done_is_kept(tmp_path: Path) -> None:
    failing(tmp_path / "out", "answers.jsonl")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["answers.jsonl", "made_by.json"]


def test_a_folder_that_was_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "deep" / "out").mkdir(parents=True)
    failing(tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out").is_dir()
    with claimed(tmp_path / "deep" / "other"):
        pass
    assert (tmp_path / "deep").is_dir()


def test_checking_an_output_makes_nothing(tmp_path: Path) -> None:
    check_output(tmp_path / "a" / "b" / "out", tmp_path / "model", 10, False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        check_output(tmp_path / "file" / "out", tmp_path / "model", 10, False)
