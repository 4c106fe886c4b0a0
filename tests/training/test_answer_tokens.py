"""Answers that are trained on, as token ids: those that the model itself would have written after the prompt."""

from __future__ import annotations

from typing import Any

import pytest
import transformers
from helpers.baseline_runs import loaded
from helpers.tiny_models import make_tokenizer
from tokenizers import AddedToken, Tokenizer, models, normalizers

from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.training.answer_loss import make_examples
from prosafeprune.training.answer_tokens import answer_opening, answer_tokens

ZEPHYR = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA_2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<s>[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }} </s>{% else %}{{ raise_exception('no') }}{% endif %}"
    "{% endfor %}"
)
GPT_OSS = (
    "{% for m in messages %}<|start|>{{ m['role'] }}{% if m['role'] == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
SINGLE_TURN = "{% if messages[1:] %}{{ raise_exception('no') }}{% endif %}<s>{{ messages[0]['content'] }}</s>\n"
MERGES = [("S", "u"), ("Su", "r"), ("Sur", "e"), ("\u2581", "Sure")]


def sentencepiece(template: str) -> Any:
    """A tokenizer as of Llama 2: a space before each text and behind each special token."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = ["<unk>", "<s>", "</s>", "\u2581", "\n", *letters, *("".join(pair) for pair in MERGES)]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=MERGES, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=template
    )


def pieces(tokenizer: Any, answer: str) -> list[str]:
    [prompt] = encode_prompts(tokenizer, ["Hi"])
    ids = answer_tokens(tokenizer, "Hi", prompt.ids, answer, answer_opening(tokenizer))
    return list(tokenizer.convert_ids_to_tokens(ids))


@pytest.mark.parametrize(("template", "first"), [(ZEPHYR, "Sure"), (LLAMA_2, "\u2581Sure")], ids=["line", "bracket"])
def test_an_answer_has_a_space_before_it_only_where_the_template_has(template: str, first: str) -> None:
    assert pieces(sentencepiece(template), "Sure!") == [first, "!"]


def gpt_oss() -> Any:
    tokenizer = make_tokenizer()
    names = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(name, special=True) for name in names]})
    tokenizer.chat_template = GPT_OSS
    return tokenizer


@pytest.mark.parametrize(
    ("answer", "written"),
    [
        ("Sure.", "<|channel|>final<|message|>Sure."),
        ("<|channel|>final<|message|>Sure.", "<|channel|>final<|message|>Sure."),
        (
            "<|channel|>analysis<|message|>An assistant may.assistant<|channel|>final<|message|>Sure.",
            "<|channel|>analysis<|message|>An assistant may.<|end|><|start|>assistant<|channel|>final<|message|>Sure.",
        ),
    ],
    ids=["text alone", "final", "analysis"],
)
def test_an_answer_of_gpt_oss_names_its_channels(answer: str, written: str) -> None:
    tokenizer = gpt_oss()
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    assert pieces(tokenizer, answer) == tokenizer.convert_ids_to_tokens(ids)


def test_a_template_of_single_turns_has_no_opening() -> None:
    tokenizer = make_tokenizer()
    assert answer_opening(tokenizer) == ""
    tokenizer.chat_template = SINGLE_TURN
    assert answer_opening(tokenizer) == ""
    assert pieces(tokenizer, "Sure.") == list("Sure.")


def test_a_token_that_reaches_into_the_answer_is_not_trained_on() -> None:
    tokenizer = sentencepiece("<s>{{ messages[0]['content'] }} Su")
    assert pieces(tokenizer, "re") == ["\u2581", "r", "e"]


def test_part_of_a_character_at_the_token_limit_is_not_trained_on() -> None:
    tiny = loaded("llama")
    cut, whole = make_examples(tiny, ["A", "B"], ["yes \ufffd", "yes \ufffd"], [False, True])
    assert tiny.tokenizer.decode(cut.answer) == "yes"
    assert tiny.tokenizer.decode(whole.answer[:-1]) == "yes \ufffd"
