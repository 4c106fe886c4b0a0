"""Pieces of text join to the stripped answer up to the first stop string, whatever the tokens are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from helpers.tiny_models import make_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from prosafeprune.generation.thought_tokens import AnswerDecoder
from prosafeprune.serving.running_answer import TextStream

TOKENIZER = make_tokenizer()
DECODE = AnswerDecoder(TOKENIZER)


def streamed(text: str, stop: Sequence[str] = ()) -> tuple[list[str], TextStream]:
    stream, pieces = TextStream(DECODE, stop), []
    for token in TOKENIZER(text, add_special_tokens=False)["input_ids"]:  # one byte each
        pieces.append(stream.push(token))
        if stream.stopped:
            return pieces, stream
    return [*pieces, stream.finish()], stream


@given(st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=40))
def test_the_pieces_join_to_the_stripped_text(text: str) -> None:
    pieces, stream = streamed(text)
    assert "".join(pieces) == stream.text == DECODE(stream.ids).strip()


@given(st.text("ab \n", max_size=30), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_the_text_ends_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    first = min((index for one in stop if (index := text.find(one)) >= 0), default=None)
    pieces, stream = streamed(text, stop)
    # A stop string that ends first is found first, even if a longer one begins before it.
    if stream.stopped:
        assert first is not None
        assert not any(one in "".join(pieces) for one in stop)
        assert text.strip().startswith("".join(pieces)) or not "".join(pieces)
    else:
        assert first is None
        assert "".join(pieces) == text.strip()


def test_incomplete_characters_wait_and_stop_strings_do_not_flash() -> None:
    pieces, _ = streamed("é")
    assert pieces[:2] == ["", "é"]
    pieces, stream = streamed("one STOP two", ["STOP"])
    assert "".join(pieces) == "one"
    assert "S" not in "".join(pieces)
    assert stream.stopped


@pytest.mark.parametrize("text", ["one STO two", "ST"])
def test_what_only_began_like_a_stop_string_is_text(text: str) -> None:
    assert "".join(streamed(text, ["STOP"])[0]) == text
