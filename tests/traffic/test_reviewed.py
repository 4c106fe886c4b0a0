"""Prompts that a person has reviewed or labelled: which rows are taken, and which are errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.fixture_types import Run
from helpers.json_lines import write_rows
from helpers.model_server import ModelServer, said

from prosafeprune.errors import InputError
from prosafeprune.prompts import PromptClass, read_reviewed


@pytest.mark.parametrize(("name", "value"), [("label", "harmful"), ("Label", "harmful"), ("class", "UNSAFE")])
def test_a_row_that_is_labelled_as_the_other_kind_is_not_calibrated_on(name: str, value: str, tmp_path: Path) -> None:
    rows = [{"prompt": "Bake bread", name: "harmless"}, {"prompt": "Stab him", name: value}]
    file = str(write_rows(tmp_path / "mixed.jsonl", rows))
    with pytest.raises(InputError, match=f"has {name} = '{value}', and the file is read as harmless prompts"):
        read_reviewed(file, PromptClass.PSEUDO_HARMFUL)
    with pytest.raises(InputError, match="'harmless', and the file is read as harmful prompts"):
        read_reviewed(file, PromptClass.HARMFUL)
    reviewed = [{**row, "review": row[name]} for row in rows[:1]] + [{**rows[1], "review": "harmful"}]
    file = str(write_rows(tmp_path / "reviewed.jsonl", reviewed))
    assert read_reviewed(file, PromptClass.PSEUDO_HARMFUL).texts == ["Bake bread"]


@pytest.mark.parametrize(
    ("name", "harmful", "harmless"),
    [("is_harmful", True, False), ("Harmful", 1, 0), ("Is Unsafe", "yes", "no"), ("safe", "FALSE", "TRUE")],
)
def test_a_row_whose_truth_value_says_the_other_kind_is_not_calibrated_on(
    name: str, harmful: object, harmless: object, tmp_path: Path
) -> None:
    rows = [{"prompt": "Bake bread", name: harmless}, {"prompt": "Stab him", name: harmful}]
    file = str(write_rows(tmp_path / "mixed.jsonl", rows))
    with pytest.raises(InputError, match=f"has {name} = {harmful!r}, and the file is read as harmless prompts"):
        read_reviewed(file, PromptClass.PSEUDO_HARMFUL)
    with pytest.raises(InputError, match=f"has {name} = {harmless!r}, and the file is read as harmful prompts"):
        read_reviewed(file, PromptClass.HARMFUL)
    assert len(read_reviewed(str(write_rows(tmp_path / "one.jsonl", rows[:1])), PromptClass.BENIGN)) == 1


def test_a_label_of_two_numbers_does_not_say_which_is_harmful(tmp_path: Path) -> None:
    file = tmp_path / "mixed.csv"
    file.write_text("prompt,label\nBake bread,0\nStab him,1\n")
    for prompt_class in PromptClass:
        with pytest.raises(InputError, match=r"label is 0 in some rows and 1 in others.*Rename label to review"):
            read_reviewed(str(file), prompt_class)
    topics = "prompt,label,harmful\nBake bread,0,How do I rob a baker?\nPick my lock,1,\nFry eggs,2,\n"
    file.write_text(topics)
    assert len(read_reviewed(str(file), PromptClass.PSEUDO_HARMFUL)) == 3
    file.write_text("prompt,label,review\nBake bread,0,harmless\nStab him,1,harmful\n")
    assert read_reviewed(str(file), PromptClass.PSEUDO_HARMFUL).texts == ["Bake bread"]


@pytest.mark.parametrize("prompt_class", PromptClass)
def test_a_finding_that_is_misspelt_is_an_error_and_the_row_not_dropped(
    prompt_class: PromptClass, tmp_path: Path
) -> None:
    rows: list[dict[str, object]] = [{"prompt": text, "review": text} for text in ("harmless", "harmful", "unsure")]
    rows += [{"prompt": "blank", "review": ""}, {"prompt": "null", "review": None}]
    file = write_rows(tmp_path / "reviewed.jsonl", rows)
    wanted = "harmful" if prompt_class is PromptClass.HARMFUL else "harmless"
    assert read_reviewed(str(file), prompt_class).texts == [wanted]
    write_rows(file, [*rows, {"prompt": "x", "review": "harmfull"}])
    with pytest.raises(InputError, match="a row has review = 'harmfull', and there are: harmless, harmful"):
        read_reviewed(str(file), prompt_class)


@pytest.mark.parametrize("other", ["harmful", "unsure"])
def test_a_prompt_with_two_findings_is_an_error(other: str, tmp_path: Path) -> None:
    """Files of two sessions, put together: the first finding would be calibrated on, whatever the second says."""
    rows = [{"prompt": "Bake bread", "review": "harmless"}, {"prompt": "Stab [him]", "review": "harmless"}]
    later = [{"prompt": " Stab [him]", "review": other}, {"prompt": "", "review": "harmful"}]
    file = str(write_rows(tmp_path / "all.jsonl", [*rows, *later]))
    with pytest.raises(InputError, match=f"reviewed as harmless and as {other}: .Stab .him.*Keep one of its rows"):
        read_reviewed(file, PromptClass.PSEUDO_HARMFUL)
    undecided = [{"prompt": "Bake bread", "review": "open"}, {"prompt": "Stab [him]", "review": "harmless"}]
    file = str(write_rows(tmp_path / "again.jsonl", [*rows, *undecided]))  # as mined, and the same finding twice
    assert read_reviewed(file, PromptClass.PSEUDO_HARMFUL).texts == ["Bake bread", "Stab [him]"]


@pytest.mark.parametrize("name", ["Review", "REVIEW ", " review"])
def test_a_column_of_the_review_is_known_in_any_case(name: str, tmp_path: Path, server: ModelServer, run: Run) -> None:
    """Else what it calls harmful would be calibrated on as harmless."""
    file = tmp_path / "reviewed.csv"
    file.write_text(f"prompt,{name}\nBake bread,Harmless\nStab him, harmful\nPick my lock,OPEN\n")
    assert read_reviewed(str(file), PromptClass.PSEUDO_HARMFUL).texts == ["Bake bread"]
    assert read_reviewed(str(file), PromptClass.HARMFUL).texts == ["Stab him"]
    server.answer = lambda body: said("2")
    kept = tmp_path / "kept.jsonl"
    run.ok("prompts", "rate", file, "--endpoint", server.url, "-o", kept)
    assert read_reviewed(str(kept), PromptClass.PSEUDO_HARMFUL).texts == ["Bake bread", "Pick my lock"]
