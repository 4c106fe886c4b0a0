"""The record of a pruned model, read back: what is in it, what it lacks in older releases, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.stored_records import stored_record
from pydantic import TypeAdapter

from prosafeprune.errors import InputError
from prosafeprune.evaluation.pruning_record import (
    PRUNING,
    RECORD_FORMAT,
    read_pruning,
    read_record_as,
    require_record_as,
)
from prosafeprune.files.staging import RECORD_FILE


def write(folder: Path, **changes: object) -> None:
    (folder / RECORD_FILE).write_text(json.dumps(stored_record(**changes)))


def test_a_record_of_the_first_release_has_no_lineage_and_was_measured(tmp_path: Path) -> None:
    write(tmp_path)
    found = read_pruning(tmp_path)
    assert found is not None and found.measured
    assert found.first_base == found.model and not found.is_trained
    assert (found.step.name, found.step.drop) == ("org/first", 2.0)
    assert (found.conditions.judge, found.conditions.thinking, found.recipe.prompt_field) == (
        "rules 1",
        "off",
        "prompt",
    )


def test_the_first_base_is_that_of_the_first_pruning(tmp_path: Path) -> None:
    write(tmp_path, lineage=[{"name": name, "sha256": "0", "drop": 1.0} for name in "ab"], polish={"strength": 0.5})
    found = read_pruning(tmp_path)
    assert found is not None and found.first_base.name == "a" and found.is_trained


def test_an_unmeasured_record_needs_no_figures(tmp_path: Path) -> None:
    kept = {name: stored_record()[name] for name in ("model", "plan", "calibration")}
    for measured in (False, True):
        (tmp_path / RECORD_FILE).write_text(json.dumps({**kept, "measured": measured}))
        if measured:
            with pytest.raises(InputError, match="cannot be read as a record"):
                read_pruning(tmp_path)
        else:
            found = read_pruning(tmp_path)
            assert found is not None and not found.measured


@pytest.mark.parametrize(
    "later",
    [{"format": RECORD_FORMAT + 1}, {"run": {"versions": {"prosafeprune": "9.0.1.dev2"}}}],
    ids=["format", "version"],
)
def test_a_record_of_a_later_release_says_so(later: dict[str, object], tmp_path: Path) -> None:
    write(tmp_path, **later)
    assert read_pruning(tmp_path) is not None  # what can be read is
    write(tmp_path, judge={"name": "rules", "version": 1}, **later)
    with pytest.raises(InputError, match=r"prosafeprune.json: was written by a newer version .* Upgrade: pip install"):
        read_pruning(tmp_path)


@pytest.mark.parametrize(
    "other", [{}, {"format": 2}, {"format": "3"}, {"run": []}, {"run": {"versions": {"prosafeprune": "0.1.0"}}}]
)
def test_a_damaged_record_is_not_taken_for_a_later_one(other: dict[str, object], tmp_path: Path) -> None:
    write(tmp_path, judge=None, **other)
    with pytest.raises(InputError, match="cannot be read as a record. Fetch"):
        read_pruning(tmp_path)


@pytest.mark.parametrize("points", [-101.0, float("nan"), float("inf")])
def test_a_change_that_cannot_be_is_not_read(points: float, tmp_path: Path) -> None:
    """It would be added to the points that later prunings may lose."""
    write(tmp_path, safety_change={"points": points})
    with pytest.raises(InputError, match="cannot be read as a record. Do this"):
        read_pruning(tmp_path, "Do this.")


def test_no_record_is_none_or_names_what_was_given(tmp_path: Path) -> None:
    assert read_pruning(tmp_path) is None
    for folder in (tmp_path, tmp_path / "nowhere", Path(__file__)):
        with pytest.raises(
            InputError, match="--from it: has no prosafeprune.json, so prosafeprune did not write it. Give a folder"
        ):
            require_record_as(PRUNING, folder, "--from it")


def test_a_folder_of_prompts_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / RECORD_FILE).write_text(json.dumps({"command": "prompts mine"}))
    with pytest.raises(InputError, match="holds prompts, not a model"):
        read_pruning(tmp_path)
    assert read_record_as(TypeAdapter(dict[str, str]), tmp_path) == {"command": "prompts mine"}
