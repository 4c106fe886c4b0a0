"""Prompt sets: the bundled ones, users' files, sampling, and overlap."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from prosafeprune.errors import InputError
from prosafeprune.prompts import (
    Prompt,
    PromptClass,
    PromptSet,
    bundled_prompts,
    find_overlaps,
    read_prompts,
    require_disjoint,
    validation_prompts,
)
from prosafeprune.prompts.prompt_set import PAIRED, WILD

CATEGORIES = {"deception", "harassment", "harmful", "hate", "illegal"}
CATEGORIES |= {"privacy", "self-harm", "sexual", "unethical", "violence"}
SPLITS = ("calibration", "validation", "test")
SIZES = {"benign": (300, 100, 150), "pseudo_harmful": (2566, 475, 300), "harmful": (2307, 470, 300)}
PAIRED_STYLES = 7
WILD_STYLES = {"benign": 0, "pseudo_harmful": 3, "harmful": 4}
STYLES = {"benign": 4, "pseudo_harmful": 5, "harmful": 5}


def prompt_set(*texts: str, source: str = "here") -> PromptSet:
    return PromptSet(PromptClass.BENIGN, source, tuple(Prompt(text) for text in texts))


def test_sets_are_named_as_the_guides_write_them(tmp_path: Path) -> None:
    assert bundled_prompts("pseudo-harmful", "test") == bundled_prompts(PromptClass.PSEUDO_HARMFUL, "test")
    (tmp_path / "mine.txt").write_text("How do I kill a process?\n")
    assert read_prompts(tmp_path / "mine.txt", "pseudo-harmful").prompt_class is PromptClass.PSEUDO_HARMFUL


def test_a_class_or_split_that_is_none_is_one_line_with_those_that_are(tmp_path: Path) -> None:
    split: Any = "train"
    with pytest.raises(InputError, match="'train': is no split. Give one of calibration, validation, test."):
        bundled_prompts("harmful", split)
    known = "'safe': is no class of prompts. Give one of benign, harmful, pseudo_harmful."
    with pytest.raises(InputError, match=known):
        bundled_prompts("safe", "test")
    with pytest.raises(InputError, match=known):
        read_prompts(tmp_path / "mine.txt", "safe")


@pytest.mark.parametrize("prompt_class", PromptClass)
def test_bundled_sets_are_large_enough_and_filed_under_categories(prompt_class: PromptClass) -> None:
    for split, size in zip(SPLITS, SIZES[prompt_class], strict=True):
        prompts = bundled_prompts(prompt_class, split)  # type: ignore[arg-type]
        assert len(prompts) == size
        styles, in_pairs, wild = (
            Counter(prompt.style for prompt in prompts if prompt.kind == kind) for kind in ("", PAIRED, WILD)
        )
        has_pairs = prompt_class is not PromptClass.BENIGN and split != "test"
        assert len(styles) == (0 if has_pairs and split == "validation" else STYLES[prompt_class])
        assert len(in_pairs) == (PAIRED_STYLES if has_pairs else 0)
        assert len(wild) == (WILD_STYLES[prompt_class] if split != "test" else 0)
        assert "" not in styles
        counts = Counter(prompt.category for prompt in prompts)
        if prompt_class is not PromptClass.BENIGN:
            assert set(counts) == CATEGORIES
            assert max(counts.values()) <= 2 * min(counts.values())
            assert len(set(styles.values())) <= 1  # styles in equal parts
        assert all(prompt.text == prompt.text.strip() and len(prompt.text.split()) >= 4 for prompt in prompts)


def test_a_spread_has_as_many_prompts_of_each_kind_as_there_are_and_the_same_share_of_each_style() -> None:
    styles = ["question"] * 8 + ["natural"] * 8 + ["paired-short"] * 4 + ["wild-odd"] * 20 + ["wild-direct"] * 10
    prompts = PromptSet(PromptClass.BENIGN, "here", tuple(Prompt(f"{n}", style=one) for n, one in enumerate(styles)))
    spread = prompts.spread(16, seed=0)
    assert Counter(prompt.style for prompt in spread) == Counter(
        {"question": 3, "natural": 3, "paired-short": 4, "wild-odd": 4, "wild-direct": 2}
    )
    assert spread.texts == sorted(spread.texts, key=int)
    assert spread == prompts.spread(16, seed=0) != prompts.spread(16, seed=1)
    assert prompts.spread(len(prompts), seed=0) is prompts


def test_a_search_validates_on_as_many_prompts_of_one_kind_as_of_the_other() -> None:
    drawn = validation_prompts(seed=3)
    for prompt_class in (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL):
        assert Counter(prompt.kind for prompt in drawn[prompt_class]) == {PAIRED: 120, WILD: 120}
        assert drawn[prompt_class] == validation_prompts(3)[prompt_class] != validation_prompts(4)[prompt_class]
    assert drawn[PromptClass.BENIGN] == bundled_prompts("benign", "validation")


def test_no_two_bundled_prompts_are_alike_in_any_set_or_split() -> None:
    sets = [bundled_prompts(prompt_class, split) for prompt_class in PromptClass for split in SPLITS]  # type: ignore[arg-type]
    for i, one in enumerate(sets):
        assert len(find_overlaps(one, one)) == len(one)  # each prompt with itself alone
        for two in sets[i + 1 :]:
            assert not find_overlaps(one, two)


@pytest.mark.parametrize("split", ["calibration", "validation"])
def test_twins_are_in_the_same_split_and_about_as_long(split: Any) -> None:
    harmful, harmless = (
        [prompt for prompt in bundled_prompts(one, split) if prompt.kind == PAIRED]
        for one in ("harmful", "pseudo_harmful")
    )
    assert len(harmful) == len(harmless) >= 200
    for one, other in zip(harmful, harmless, strict=True):
        assert (one.style, one.category) == (other.style, other.category)
        lengths = sorted(len(prompt.text.split()) for prompt in (one, other))
        assert lengths[1] <= max(1.5 * lengths[0], lengths[0] + 5)


def test_harmful_prompts_name_a_harm_briefly_and_involve_no_minors() -> None:
    for split in SPLITS:
        for prompt in bundled_prompts("harmful", split):  # type: ignore[arg-type]
            assert len(prompt.text.split()) <= 75
            assert not {"child", "children", "minor", "minors", "teen", "teenager"} & set(prompt.text.lower().split())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"ask": "One?", "category": "x"}\n\n{"ask": "Two\\u2028lines"}\n'),
        ("a.csv", "ask,category\nOne?,x\nTwo\u2028lines,\n"),
        ("a.csv", "\ufeffask;category\r\nOne?;x\r\n;\r\nTwo\u2028lines;\r\n"),
        ("a.json", '[{"ask": "One?",\n "category": "x"}, {"ask": "Two\\u2028lines"}]'),
    ],
)
def test_files_give_their_prompts_in_order(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    prompts = read_prompts(str(tmp_path / name), "benign", "ask")
    assert prompts.texts == ["One?", "Two\u2028lines"]
    assert prompts.prompts[0].category == "x"


def test_a_csv_cell_may_hold_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt\n"One\nand more"\nTwo\n')
    assert read_prompts(str(tmp_path / "a.csv"), "benign").texts == ["One\nand more", "Two"]


def test_a_csv_cell_may_be_as_long_as_a_prompt(tmp_path: Path) -> None:
    """Python's reader stops at 131,072 characters, and its error asks for quotes that are not missing."""
    limit = csv.field_size_limit()
    file = tmp_path / "a.csv"
    file.write_text(f'prompt\n"{"How? " * 100_000}"\n')
    assert len(read_prompts(str(file), "benign").texts[0]) == 499_999
    file.write_text(f'prompt\n"{"How? " * 300_000}"\n')
    with pytest.raises(InputError, match="line 2: has 1499999 characters, more than models read"):
        read_prompts(str(file), "benign")
    assert csv.field_size_limit() == limit


def test_a_csv_file_with_one_column_may_hold_any_separator(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt\nOne, two; three\n")
    assert read_prompts(str(tmp_path / "a.csv"), "benign").texts == ["One, two; three"]


def test_a_text_file_has_a_prompt_a_line_and_repeats_count_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One\n\n Two \nOne\n")
    assert read_prompts(str(tmp_path / "a.txt"), "benign").texts == ["One", "Two"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "{broken", "line 1: not valid JSON"),
        ("a.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("a.jsonl", '{"text": "One"}', "no column 'prompt' among: text"),
        ("a.jsonl", '{"prompt": ""}', "line 1: 'prompt' is empty"),
        ("a.jsonl", '{"prompt": "\u200b\u200d"}', "line 1: 'prompt' is empty"),
        ("a.csv", "prompt\n\u200b\n", "line 2: 'prompt' is empty"),
        (
            "a.csv",
            "prompt;category\nOne;two;three\n",
            "has 3 cells, and the header has 2. Put text that contains semicolons",
        ),
        ("a.txt", "\u200b\u200d\n\u3164\n", "has no prompts"),
        ("a.json", '{"prompt": "One"}\n{"prompt": "Two"}', "not valid JSON .Extra data.. Write one list of objects"),
        ("a.json", '{"prompt": "One"}', "is not a list. Write one list of objects; a file of one object per line ends"),
        ("a.json", '[{"prompt": "One"}, "Two"]', "entry 2: not a JSON object"),
        ("a.json", '[{"prompt": "One"}, {"prompt": ""}]', "entry 2: 'prompt' is empty"),
        ("a.json", '[{"prompt": "One", "prompt": "Two"}]', "'prompt' is given twice"),
        ("a.json", "[]", "has no prompts"),
        ("a.json", "[" * 100_000, "not valid JSON"),
        ("a.jsonl", "", "has no prompts"),
        ("a.txt", " \n", "has no prompts"),
        ("a.csv", 'prompt\nOne\n"' + "x" * 200_000, "not valid CSV"),
        ("a.parquet", "x", "prompts are read from"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_prompts(str(tmp_path / name), "benign")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        read_prompts(str(tmp_path / "a.txt"), "benign")


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt\nOne thing\nOne thing\n"Another\nthing entirely"\nA third one here\n')
    prompts = read_prompts(str(tmp_path / "a.csv"), "benign")
    (found,) = find_overlaps(prompts, prompt_set("a third one here"))
    assert found.first_line == 6


def test_a_missing_file_is_one_clear_line() -> None:
    with pytest.raises(InputError, match="no such file"):
        read_prompts("missing.jsonl", "benign")
    with pytest.raises(InputError, match="no such file"):
        read_prompts("./missing", "benign")


def test_a_dataset_that_cannot_be_had_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(InputError, match="could not be loaded \\(no route\\)"):
        read_prompts("someone/something", "harmful")


def test_a_hub_dataset_is_read_by_configuration_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = datasets.Dataset.from_list([{"goal": "One"}, {"goal": "Two"}])
    both = datasets.DatasetDict({"train": rows, "test": rows})
    held = {("a/b", None, "harmful"): rows, ("a/b", "hard", "train"): rows, ("a/b", None, None): both}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, configuration, split: held[name, configuration, split])
    assert read_prompts("a/b:harmful", "harmful", "goal").texts == ["One", "Two"]
    assert read_prompts("a/b:hard:train", "harmful", "goal").texts == ["One", "Two"]
    with pytest.raises(InputError, match="Name one: a/b:train"):
        read_prompts("a/b", "harmful", "goal")


def test_sampling_is_seeded_without_replacement_and_keeps_order() -> None:
    prompts = prompt_set(*[f"prompt number {i}" for i in range(50)])
    one, again, other = prompts.sample(20, 3), prompts.sample(20, 3), prompts.sample(20, 4)
    assert one.texts == again.texts != other.texts
    assert len(set(one.texts)) == 20
    assert [prompts.texts.index(text) for text in one.texts] == sorted(prompts.texts.index(text) for text in one.texts)
    assert prompts.sample(99, 0) is prompts
    assert one.sha256 == again.sha256 != other.sha256


def test_a_larger_fixed_part_holds_the_smaller_ones_in_order() -> None:
    prompts = prompt_set(*(f"prompt number {number}" for number in range(300)))
    parts = [prompts.fixed_part(size) for size in (40, 100, 250, 400)]
    assert [len(part) for part in parts] == [40, 100, 250, 300]
    for small, large in pairwise(parts):
        assert set(small.texts) <= set(large.texts)
    assert all(part.texts == [text for text in prompts.texts if text in set(part.texts)] for part in parts)
    reversed_set = prompt_set(*reversed(prompts.texts))
    assert set(reversed_set.fixed_part(40).texts) == set(parts[0].texts)


def test_near_equal_prompts_are_found_and_contrast_pairs_are_not() -> None:
    ours = prompt_set("How do I kill a Python process?", "Name three rivers in France.")
    theirs = prompt_set(
        "how do i  KILL a python process", "How do I kill a person?", "Please name three rivers in France"
    )
    pairs = {(overlap.first_line, overlap.second_line) for overlap in find_overlaps(ours, theirs)}
    assert pairs == {(1, 1), (2, 3)}


def test_overlap_stops_the_run_with_the_offending_lines() -> None:
    calibration = prompt_set("Quite another thing", "What is a kill switch?", source="mine.jsonl")
    with pytest.raises(
        InputError,
        match=r"^A pair of prompts, .* is in two .* mine.jsonl line 2 'What is a kill switch\?' = test line 1",
    ):
        require_disjoint([calibration], [prompt_set("what is a kill switch", source="test")])
    with pytest.raises(InputError, match="mine.jsonl line 2"):
        require_disjoint([calibration, prompt_set("What is a kill switch?", source="b")], [])
    require_disjoint([calibration], [prompt_set("Something else entirely")])


def test_bundled_files_hold_nothing_but_prompt_category_and_style() -> None:
    folder = Path(__file__).parents[2] / "src/prosafeprune/prompts/data"
    files = list(folder.glob("*/*.jsonl"))  # not those beyond a single English turn
    assert len(files) == 9
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            assert set(json.loads(line)) == {"prompt", "category", "style"}


def test_a_split_is_disjoint_complete_and_even_over_styles() -> None:
    prompts = tuple(Prompt(f"prompt {i}", style="ab"[i % 2]) for i in range(20))
    whole = PromptSet(PromptClass.BENIGN, "here", prompts)
    first, rest = whole.split(0.4, seed=0)
    assert sorted([*first.texts, *rest.texts]) == sorted(whole.texts)
    assert Counter(prompt.style for prompt in first) == {"a": 4, "b": 4}
    assert whole.split(0.4, seed=0) == (first, rest)
    assert whole.split(0.4, seed=1) != (first, rest)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_split_of_few_prompts_leaves_neither_part_empty(size: int) -> None:
    first, rest = prompt_set(*"abc"[:size]).split(0.4, seed=0)
    assert len(first) >= 1 and len(rest) >= 1
    assert set(first.texts) | set(rest.texts) == set("abc"[:size])


def test_a_set_is_shown_without_its_prompts() -> None:
    assert repr(bundled_prompts(PromptClass.HARMFUL, "test")) == "PromptSet(harmful, 'bundled test', 300 prompts)"
