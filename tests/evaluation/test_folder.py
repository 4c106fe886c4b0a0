"""The folder of an evaluation: whose verdicts are in which file."""

from __future__ import annotations

from pathlib import Path

import pytest

from prosafeprune.evaluation.folder import EvaluationFolder, verdicts_file
from prosafeprune.files.resumable_folder import locked_folder


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u88c1\u5224\u4e00", "\u88c1\u5224\u4e8c"),
        ("\u0441\u0443\u0434\u044c\u044f+", "\u0441\u0443\u0434\u044c\u044f*"),
    ],
)
def test_two_judges_never_share_their_verdicts(one: str, other: str, tmp_path: Path) -> None:
    with locked_folder(tmp_path / "out", overwrite=False):
        folder = EvaluationFolder(tmp_path / "out", {})
        folder.verdicts(one).add(0, "Hi", **{"class": "full_refusal", "reason": "by the first judge"})
        assert (0, "Hi") in folder.verdicts(one)
        assert (0, "Hi") not in folder.verdicts(other)


@pytest.mark.parametrize(
    ("judge", "file"),
    [
        ("builtin-8", "verdicts-builtin-8.jsonl"),
        ("llm:org/a_model (XSTest question 1)", "verdicts-llm-org-a-model-XSTest-question-1-.jsonl"),
        (
            "wildguard:allenai/wildguard, S.S. by harmlessness",
            "verdicts-wildguard-allenai-wildguard-S.S.-by-harmlessness.jsonl",
        ),
    ],
)
def test_verdicts_of_earlier_releases_are_found(judge: str, file: str) -> None:
    assert verdicts_file(judge) == file


def test_a_judge_named_by_a_long_path_has_a_file(tmp_path: Path) -> None:
    deep = f"wildguard:/{'folder/' * 40}"
    with locked_folder(tmp_path / "out", overwrite=False):
        folder = EvaluationFolder(tmp_path / "out", {})
        folder.verdicts(f"{deep}one").add(0, "Hi", **{"class": "full_refusal", "reason": ""})
        assert (0, "Hi") not in folder.verdicts(f"{deep}two")
