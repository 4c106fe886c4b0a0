"""Phrases in plain text are found where ``\\b`` around them would find them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from prosafeprune.judges.rules.phrases import Phrases

PHRASES = (r"i (?:can|will) ?not", r"not", r"no(?: way)?", r"cannot")
PLAIN = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b")
FOUND = Phrases(*PHRASES)
WORDS = st.lists(st.sampled_from(["i", "can", "not", "cannot", "will", "no", "way", "know", "noway", "nothing", "1"]))


@given(WORDS.map(" ".join))
def test_what_is_found_is_what_word_boundaries_find(text: str) -> None:
    wanted = [(found.start(), found[0]) for found in PLAIN.finditer(text)]
    assert [(found.start(1), found[1]) for found in FOUND.finditer(text)] == wanted
    first = FOUND.search(text)
    assert (None if first is None else (first.start(1), first[1])) == (wanted[0] if wanted else None)
    assert FOUND.blanked(text) == PLAIN.sub(" ", text)
