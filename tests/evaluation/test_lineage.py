"""What a base model's folder says of its past."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.json_lines import write_rows
from helpers.stored_records import stored_record

from prosafeprune.errors import InputError
from prosafeprune.evaluation.conditions import Conditions
from prosafeprune.evaluation.lineage import EVIDENCE_FILE, first_ancestor, read_lineage
from prosafeprune.files.staging import RECORD_FILE
from prosafeprune.judges.verdict import AnswerClass

CONDITIONS = Conditions(judge="rules 1", max_new_tokens=64)


def write(folder: Path, rows: list[dict[str, str]] | None = None, **changes: Any) -> None:
    (folder / RECORD_FILE).write_text(json.dumps(stored_record(**changes)))
    if rows is not None:
        write_rows(folder / EVIDENCE_FILE, rows)


def row(prompt: str, source: str, **more: str) -> dict[str, str]:
    return {"class": "harmful", "prompt": prompt, "source_verdict": source, "result_verdict": "full_compliance", **more}


def test_a_model_that_was_never_pruned_has_none(tmp_path: Path) -> None:
    lineage = read_lineage(tmp_path)
    assert lineage.steps == []
    assert first_ancestor(tmp_path, lineage, CONDITIONS) is None


def test_the_first_ancestor_is_the_base_of_the_first_pruning(tmp_path: Path) -> None:
    write(tmp_path, [row("a", "full_refusal"), row("b", "broken"), {**row("c", "full_refusal"), "class": "benign"}])
    lineage = read_lineage(tmp_path)
    found = first_ancestor(tmp_path, lineage, CONDITIONS)
    assert found is not None
    assert (found.name, found.lost) == ("org/first", 2.0)
    assert found.verdicts == {"a": AnswerClass.FULL_REFUSAL, "b": AnswerClass.BROKEN}


def test_by_harmlessness_the_classes_that_count_are_compared(tmp_path: Path) -> None:
    """A harmless answer that complies counts as a refusal, and a loss of it as one."""
    write(tmp_path, [row("a", "full_compliance", source_safety="full_refusal", result_safety="full_compliance")])
    found = first_ancestor(tmp_path, read_lineage(tmp_path), CONDITIONS)
    assert found is not None and found.verdicts == {"a": AnswerClass.FULL_REFUSAL}


def test_answers_that_are_missing_stop_the_run(tmp_path: Path) -> None:
    """With fewer of them, less would be compared with the first ancestor."""
    prompts = {"source": "x", "count": 2, "sha256": "0" * 64}
    rows = [row(text, "full_refusal", set="advbench") for text in "ab"]
    write(tmp_path, [*rows, row("c", "full_refusal", set="spot-check-domains")], evaluation={"advbench": prompts})
    found = first_ancestor(tmp_path, read_lineage(tmp_path), CONDITIONS)
    assert found is not None and list(found.verdicts) == ["a", "b"]
    write_rows(tmp_path / EVIDENCE_FILE, rows[:1])
    with pytest.raises(InputError, match="has 1 of the 2 answers of advbench. Fetch the model again"):
        first_ancestor(tmp_path, read_lineage(tmp_path), CONDITIONS)


def test_steps_add_up_and_the_first_verdicts_are_passed_on(tmp_path: Path) -> None:
    earlier = [{"name": "org/first", "sha256": "1" * 64, "drop": 2.5}]
    write(
        tmp_path,
        [row("a", "full_compliance", first_verdict="full_refusal")],
        model={"name": "second", "sha256": "2" * 64},
        lineage=earlier,
    )
    lineage = read_lineage(tmp_path)
    assert [step.name for step in lineage.steps] == ["org/first", "second"]
    found = first_ancestor(tmp_path, lineage, CONDITIONS)
    assert found is not None
    assert (found.name, found.lost) == ("org/first", 4.5)
    assert found.verdicts == {"a": AnswerClass.FULL_REFUSAL}


@pytest.mark.parametrize(
    "other",
    [
        {"judge": "wildguard"},
        {"max_new_tokens": 128},
        {"system": "Be kind."},
        {"thinking": "on"},
        {"safety": "harmlessness"},
    ],
)
def test_verdicts_under_other_conditions_are_not_compared(other: dict[str, Any], tmp_path: Path) -> None:
    """Under a system prompt the first ancestor may refuse less: its loss would then never be deducted."""
    write(tmp_path, [row("a", "full_refusal")])
    found = first_ancestor(tmp_path, read_lineage(tmp_path), CONDITIONS.model_copy(update=other))
    assert found is not None and found.verdicts == {} and found.lost == 2.0


def test_a_record_of_an_older_release_has_no_system_prompt_and_thinking_as_a_flag(tmp_path: Path) -> None:
    write(tmp_path, [], recipe={"max_new_tokens": 64, "thinking": False})
    assert read_lineage(tmp_path).conditions == CONDITIONS


def test_an_unmeasured_model_is_refused(tmp_path: Path) -> None:
    write(tmp_path, measured=False)
    with pytest.raises(InputError, match="without being measured .* Prune the model it was made from, org/first"):
        read_lineage(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 3}', '{"measured": true}', "[" * 100_000])
def test_a_broken_record_is_one_clear_line(text: str, tmp_path: Path) -> None:
    (tmp_path / RECORD_FILE).write_text(text)
    with pytest.raises(InputError, match="cannot be read as a record. Fetch or make the model again"):
        read_lineage(tmp_path)


@pytest.mark.parametrize("text", ["{", "3", '{"class": "harmful"}', '{"class": "harmful", "prompt": "a"}'])
def test_broken_answers_are_one_clear_line(text: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / EVIDENCE_FILE).write_text(text)
    with pytest.raises(InputError, match="cannot be read"):
        first_ancestor(tmp_path, read_lineage(tmp_path), CONDITIONS)
