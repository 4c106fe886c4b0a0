"""Decoded answers keep the markers of thoughts, which the judge cuts out, and no other special token."""

from __future__ import annotations

import pytest
from helpers.tiny_models import make_tokenizer

from prosafeprune.generation.thought_tokens import AnswerDecoder, thought_tokens
from prosafeprune.judges.reasoning_text import spoken_part


@pytest.mark.parametrize(
    ("tokens", "written"),
    [
        (("<|START_THINKING|>", "<|END_THINKING|>"), "{0}No, I refuse.{1}Yes."),
        (("<deep_thought>", "</deep_thought>"), "{0}No, I refuse.{1}Yes."),
        (("<|reason_start|>", "<|reason_end|>"), "{0}No, I refuse.{1}Yes."),
        (("<|channel>", "<channel|>"), "{0}thought No, I refuse.{1}Yes."),
        (("<|channel|>", "<|message|>"), "{0}analysis{1}No, I refuse.{0}final{1}Yes."),
    ],
)
def test_thoughts_keep_their_markers(tokens: tuple[str, str], written: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [*tokens, "<|other|>"]})
    ids = tokenizer(written.format(*tokens) + "<|other|>", add_special_tokens=False)["input_ids"]
    assert spoken_part(tokenizer.decode(ids, skip_special_tokens=True)) != "Yes."  # what dropping all would give
    text = AnswerDecoder(tokenizer)(ids)
    assert spoken_part(text) == "Yes."
    assert "other" not in text


def test_answers_without_thoughts_are_decoded_as_ever() -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer("Plain  text, two spaces.", add_special_tokens=False)["input_ids"]
    assert AnswerDecoder(tokenizer)(ids) == tokenizer.decode(ids, skip_special_tokens=True)


def test_only_pairs_that_name_a_thought_count() -> None:
    added = {"<think>": 1, "</think>": 2, "<x>": 3, "</x>": 4, "<|thinking_end|>": 5, "<reasoning>": 6}
    assert thought_tokens(added) == {1: "<think>", 2: "</think>"}
