"""Phrases that the glossary in CONTRIBUTING.md replaces are found, and the tree has none of the worst."""

from __future__ import annotations

from checks import wording
from checks.repository import read


def test_the_tree_has_none_of_the_old_phrases() -> None:
    found = [(str(path), *hit) for path in wording.checked_files() for hit in wording.phrases_in(read(path))]
    assert found == []


def test_an_old_phrase_is_found_with_its_line_and_what_to_write() -> None:
    text = "A run resumes.\nIt is gone on with; the answers cannot be had.\n"
    assert list(wording.phrases_in(text)) == [
        (2, "gone on with", "resume"),
        (2, "cannot be had", "is unavailable, fails"),
    ]


def test_words_that_only_contain_an_old_one_are_left_alone() -> None:
    assert list(wording.phrases_in("Be patiently told. She told her doctor. It tells apart two classes.")) == []
