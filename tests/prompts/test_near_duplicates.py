"""Near-duplicates: the index finds what comparing all with all finds; splits keep groups together."""

from __future__ import annotations

import unicodedata
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosafeprune.prompts.near_duplicates import NearDuplicateIndex, jaccard, words_of
from prosafeprune.prompts.overlap import groups_of_alike, repeats

TEXTS = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9).map(" ".join), max_size=25)
LEAST = (0.3, 0.5, 0.6, 0.8, 1.0)


@given(TEXTS, st.sampled_from(LEAST), st.booleans())
def test_the_index_finds_what_comparing_all_with_all_finds(texts: list[str], least: float, by_length: bool) -> None:
    index = NearDuplicateIndex(least) if by_length else NearDuplicateIndex(least, lambda word: hash(word) % 3)
    words = [words_of(text) for text in texts]
    for key, one in enumerate(words):
        index.add(key, one)
    for one in words:
        assert sorted(index.find(one)) == [key for key, other in enumerate(words) if jaccard(one, other) >= least]


@given(TEXTS, st.data())
def test_what_is_removed_is_not_found(texts: list[str], data: st.DataObject) -> None:
    index = NearDuplicateIndex(0.6)
    for key, text in enumerate(texts):
        index.add(key, words_of(text))
    gone = data.draw(st.sets(st.sampled_from(range(len(texts))))) if texts else set()
    for key in gone:
        index.remove(key)
    assert len(index) == len(texts) - len(gone)
    for text in texts:
        assert not gone & set(index.find(words_of(text)))
    if len(gone) == len(texts):
        assert not index._having


def test_words_that_differ_in_a_vowel_sign_are_different_words() -> None:
    """Hindi and other Indian languages write vowels as marks, which are no letters to the module re."""
    assert words_of("\u0915\u093f\u0932\u093e \u092e\u0947\u0902") == {"\u0915\u093f\u0932\u093e", "\u092e\u0947\u0902"}
    nail, fort, tomorrow = "\u0915\u0940\u0932", "\u0915\u093f\u0932\u093e", "\u0915\u0932"
    assert repeats([f"{word} \u0915\u0939\u093e\u0901 \u0939\u0948?" for word in (nail, fort, tomorrow)]) == []
    assert words_of("\u00e9t\u00e9 e\u0301te\u0301 \u2764\ufe0f") == {"\u00e9t\u00e9"}


def test_repeats_are_pairs_of_rows_the_earlier_first() -> None:
    texts = ["How do I kill a process in Python?", "Bake bread", "how do i KILL a process in python", "Bake a pie"]
    assert repeats(texts) == [(0, 2)]


@given(TEXTS)
def test_groups_hold_all_rows_once_and_no_two_groups_are_alike(texts: list[str]) -> None:
    groups = groups_of_alike(texts)
    assert sorted(row for group in groups for row in group) == list(range(len(texts)))
    for one, two in combinations(groups, 2):
        assert all(jaccard(words_of(texts[i]), words_of(texts[j])) < 0.6 for i in one for j in two)


@pytest.mark.parametrize("text", ["", "?!", "\U0001f600"])
def test_a_text_without_words_is_its_own_word(text: str) -> None:
    assert len(words_of(text)) == 1


def test_the_underscores_of_an_emphasis_make_no_difference() -> None:
    assert words_of("How do I _kill_ a __process__?") == words_of("How do I kill a process")
    assert words_of("kill_process") == {"kill_process"}


@pytest.mark.parametrize("spaced", ["\u00ad", "\u200b", "\u034f", "\ufe0f", "\u3164"])
def test_how_letters_are_encoded_makes_no_difference(spaced: str) -> None:
    text = "Wie t\u00f6te ich einen Prozess, der h\u00e4ngt?"
    for same in (unicodedata.normalize("NFD", text), text.upper(), text.replace("z", f"z{spaced}")):
        assert words_of(same) == words_of(text)
    assert words_of("\uff37\uff48\uff59?") == words_of("why")
