"""Answers tokenised as the model would have written them after its prompt."""

import re
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.model.chat_template import render

WORDS = "answer"
CHANNEL = "<|channel|>"
FURTHER_CHANNEL = re.compile(r"(?<!<\|start\|>)assistant(?=<\|channel\|>)")
"""Where a decoded answer of gpt-oss goes on in another channel: decoding drops the two tokens before it."""
CUT_CHARACTER = re.compile(r"\s*\ufffd{1,3}\Z")
"""What the last bytes of an answer are decoded to when it was cut within a character: one sign or one a byte."""


def answer_opening(tokenizer: Any) -> str:
    """Return what the template writes between a prompt and the words of its answer: mostly nothing.

    After ``[/INST]`` it is a space, and in gpt-oss's template the channel of the answer.
    """
    try:
        prompt = render(tokenizer, "a")
        answered = render(tokenizer, "b", history=(("user", "a"), ("assistant", WORDS)))
    except InputError:  # a template of single turns
        return ""
    opening, found, _ = answered[len(prompt) :].partition(WORDS)
    return opening if found and answered.startswith(prompt) else ""


def answer_tokens(tokenizer: Any, prompt: str, ids: tuple[int, ...], answer: str, opening: str) -> list[int]:
    """Return the tokens of an answer, without an end token.

    Tokenised by itself, an answer would get the space that tokenizers of Llama 2's kind put before any text.

    Args:
        prompt: the prompt it follows.
        ids: that prompt's tokens.
        opening: what :func:`answer_opening` returns.
    """
    if CHANNEL in opening and CHANNEL in answer:  # the model's own, which names its channels
        opening, answer = "", FURTHER_CHANNEL.sub("<|end|><|start|>assistant", answer)
    whole = _tokenised(tokenizer, render(tokenizer, prompt) + opening + answer)
    if tuple(whole[: len(ids)]) == ids:
        return whole[len(ids) :]
    return _tokenised(tokenizer, opening.strip() + answer)  # a token reaches from the prompt into the answer


def without_cut_character(answer: str) -> str:
    """Return an answer cut at the token limit without the part of a character that it ends with."""
    return CUT_CHARACTER.sub("", answer)


def _tokenised(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
