"""Chat templates are programs that come with the model: all shapes are served, none can hang or fill the memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers
from helpers.tiny_models import TEMPLATE, make_tokenizer

from prosafeprune.errors import InputError
from prosafeprune.model import template_process
from prosafeprune.model.chat_template import (
    answer_end,
    encode_prompts,
    end_of_turn_ids,
    read_chat_template,
    render,
    require_chat_template,
    set_thinking,
    with_opened_thought,
)
from prosafeprune.model.template_process import TemplateProcess
from prosafeprune.prompts.conversation import as_prompt

# The shapes of the real templates, with other special tokens.
LLAVA = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}"
    "</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
IDEFICS = (
    "{% for message in messages %}{{ message['role'].capitalize() }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
SMOLVLM = "<s>" + IDEFICS
MISTRAL3 = (
    "<s>{% for message in messages %}{% if message['role'] == 'user' %}[INST]"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for block in message['content'] %}{{ block['text'] if block['type'] == 'text' else '[IMG]' }}{% endfor %}"
    "{% endif %}[/INST]{% else %}{{ message['content'] }}</s>{% endif %}{% endfor %}"
)
NEEDS_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ raise_exception('A system turn is needed') }}{% endif %}" + TEMPLATE
)


def tokenizer_with(template: str) -> transformers.PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    "template", [LLAVA, IDEFICS, SMOLVLM, MISTRAL3], ids=["llava", "idefics", "smolvlm", "mistral3"]
)
def test_templates_over_content_parts_are_served(template: str) -> None:
    tokenizer = tokenizer_with(template)
    text = render(tokenizer, "How do I kill a process?")
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": "How do I kill a process?"}]}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert text == expected
    assert text.count("How do I kill a process?") == 1
    (prompt,) = encode_prompts(tokenizer, ["How do I kill a process?"])
    assert tokenizer.decode(prompt.ids[prompt.user_start : prompt.user_end]) == "How do I kill a process?"
    assert tokenizer.eos_token_id in end_of_turn_ids(tokenizer, None)


def test_what_transformers_renders_is_what_is_rendered() -> None:
    tokenizer = make_tokenizer()
    turns = [{"role": "user", "content": "Hi \u2028 \U0001f600"}]
    assert render(tokenizer, turns[0]["content"]) == tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True
    )


def test_a_template_that_needs_a_system_turn_is_told() -> None:
    tokenizer = tokenizer_with(NEEDS_SYSTEM)
    with pytest.raises(InputError, match=r"requires a system prompt \(A system turn is needed\)"):
        render(tokenizer, "Hi")
    assert "Be kind." in render(tokenizer, "Hi", "Be kind.")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let templates have two seconds, in a process of their own."""
    own = TemplateProcess()
    monkeypatch.setattr(template_process, "shared", own)
    own.render("{{ messages[0]['content'] }}", [{"role": "user", "content": "warm"}], {})
    monkeypatch.setattr(template_process, "SECONDS", 2.0)
    yield
    own.stop()


ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% set a = 1 %}{% endfor %}{% endfor %}"
DOUBLING = "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"


@pytest.mark.long
@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% set a = 1 %}{% endfor %}{% endfor %}",
            "longer than 2",
        ),
        (DOUBLING + "{{ ns.s }}", "too much memory|longer than|process that renders it ended"),
        ("{{ 'a' * 3000000 }}{{ messages[0]['content'] }}", "writes too much"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself without end|process that renders it ended"),
        ("{{ messages.__class__.__mro__ }}", "fails on a plain user turn"),
        ("{{ ''.__class__.__base__.__subclasses__() }}", "fails on a plain user turn"),
        ("{% if %}", "fails on a plain user turn"),
        ("{{ messages[0]['content'] | upper }}", "does not write the user's words"),
    ],
    ids=["endless", "doubling", "long", "recursion", "class", "subclasses", "broken", "upper case"],
)
def test_hostile_templates_are_one_line_soon(template: str, words: str, quick: None) -> None:
    tokenizer = tokenizer_with(template)
    with pytest.raises(InputError, match=words) as caught:
        render(tokenizer, "hello there")
    assert "\n" not in str(caught.value)
    tokenizer.chat_template = TEMPLATE
    assert "hello there" in render(tokenizer, "hello there")  # by a new process, if need be


def test_templates_see_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    start = template_process.subprocess.Popen
    monkeypatch.setattr(
        template_process.subprocess,
        "Popen",
        lambda *given, env, **how: seen.append(env) or start(*given, env=env, **how),
    )
    process = TemplateProcess()
    assert process.render("a{{ messages[0]['b'] }}", [{"b": "c"}], {}) == "ac"
    process.stop()
    assert seen
    assert "secret" not in json.dumps(seen)


def test_the_template_of_a_processor_is_read(tmp_path: Path) -> None:
    tokenizer = tokenizer_with("")
    tokenizer.chat_template = None
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": MISTRAL3}))
    read_chat_template(tokenizer, tmp_path)
    assert render(tokenizer, "Hi") == "<s>[INST]Hi[/INST]"
    for odd in ({"chat_template": 3}, {}):
        tokenizer.chat_template = None
        (tmp_path / "chat_template.json").write_text(json.dumps(odd))
        with pytest.raises(InputError, match="no template under chat_template"):
            read_chat_template(tokenizer, tmp_path)


@pytest.mark.parametrize("known", ["2", [1, "2"], 1.5, {"a": 1}, -1, True, [None, "x"]])
def test_an_end_token_that_is_no_id_is_one_line(known: Any) -> None:
    with pytest.raises(InputError, match=r"eos_token_id = .*not a token id"):
        end_of_turn_ids(make_tokenizer(), known)


@pytest.mark.parametrize(("known", "end"), [([7, 1], [1]), ([1, 7], [1]), ([7, 8], [7]), ([], [])])
def test_an_answer_ends_with_what_the_template_writes(known: list[int], end: list[int]) -> None:
    assert answer_end(make_tokenizer(), known) == end


def test_known_end_tokens_are_kept() -> None:
    tokenizer = make_tokenizer()
    for known, expected in ((None, [1]), (7, [7, 1]), ([7, 1], [7, 1])):
        assert end_of_turn_ids(tokenizer, known) == expected


QWEN3 = TEMPLATE + "{% if add_generation_prompt and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
DEEPSEEK = TEMPLATE + "{% if add_generation_prompt %}{{ '<think>' if thinking else '</think>' }}{% endif %}"
R1 = TEMPLATE + "{% if add_generation_prompt %}<think>\n{% endif %}"
EXAONE_DEEP = R1.replace("think", "thought")


@pytest.mark.parametrize(
    ("template", "off", "on"),
    [
        (QWEN3, "</think>\n\n", "<|assistant|>"),
        (DEEPSEEK, "<|assistant|></think>", "<|assistant|><think>"),
        (R1, "</think>\n\n", "<think>\n"),
        (EXAONE_DEEP, "<thought>\n\n</thought>\n\n", "<thought>\n"),
    ],
)
def test_thinking_is_off_unless_it_is_asked_for(template: str, off: str, on: str) -> None:
    tokenizer = tokenizer_with(template)
    assert render(tokenizer, "Hello").endswith(off)
    assert set_thinking(tokenizer, "on", "m")
    assert render(tokenizer, "Hello").endswith(on)
    assert set_thinking(tokenizer, "off", "m")
    assert render(tokenizer, "Hello").endswith(off)


def test_a_template_without_the_switch_cannot_be_asked_to_think() -> None:
    tokenizer = tokenizer_with(TEMPLATE)
    assert not set_thinking(tokenizer, "off", "m")
    with pytest.raises(InputError, match="m cannot switch it"):
        set_thinking(tokenizer, "on", "m")


@pytest.mark.parametrize(
    ("template", "thinking", "answer", "marked"),
    [
        (R1, "on", "Okay, the user wants a", "<think>Okay, the user wants a"),
        (R1, "on", "They greet.\n</think>\n\nHello!", "They greet.\n</think>\n\nHello!"),
        (R1, "off", "Hello!", "Hello!"),
        (DEEPSEEK, "on", "Okay", "<think>Okay"),
        (EXAONE_DEEP, "on", "Okay", "<think>Okay"),
        (EXAONE_DEEP, "on", "Okay.</thought>Hello!", "Okay.</thought>Hello!"),
        (QWEN3, "on", "Hello!", "Hello!"),  # whose models open the thought themselves
    ],
)
def test_a_thought_that_the_template_opened_is_known_where_the_answer_ends_in_it(
    template: str, thinking: str, answer: str, marked: str
) -> None:
    tokenizer = tokenizer_with(template)
    set_thinking(tokenizer, thinking, "m")
    assert with_opened_thought(tokenizer, "Hi", answer) == marked


THOUGHT_DROPPED = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content.split('</think>')[-1].strip() }}</s>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_thought_in_an_earlier_answer_may_be_left_out() -> None:
    """Qwen3's template writes of earlier answers what follows the thought; nothing else may be dropped."""
    history = [("user", "Hi"), ("assistant", "<think>\nThey greet.\n</think>\n\nHello!")]
    tokenizer = tokenizer_with(THOUGHT_DROPPED)
    assert render(tokenizer, "Why?", history=history).startswith("<|user|>Hi</s><|assistant|>Hello!</s><|user|>Why?")
    with pytest.raises(InputError):
        render(tokenizer, "Is </think> a tag?")


@pytest.mark.parametrize("words", ["assistant", "s", "user", "Hello"])
def test_words_that_the_template_writes_too_are_located_in_the_users_turn(words: str) -> None:
    tokenizer = make_tokenizer()
    prompt = as_prompt([("user", "Hello"), ("assistant", "Hello"), ("user", words)])
    [found] = encode_prompts(tokenizer, [prompt])
    text = tokenizer.decode(found.ids[: found.user_start])
    assert text == render(tokenizer, prompt).rpartition(words + render(tokenizer, "§").partition("§")[2])[0]
    assert tokenizer.decode(found.ids[found.user_start : found.user_end]) == words


@pytest.mark.parametrize(
    "template",
    ["{{ messages[0]['content'][:9] }}", "{{ messages[0]['content'][::-1] }}", "{{ messages | tojson | upper }}"],
)
def test_a_template_that_changes_the_words_cannot_pass_by_writing_the_list_of_their_parts(template: str) -> None:
    with pytest.raises(InputError, match="fails on a plain user turn"):
        encode_prompts(tokenizer_with(template), ["Tell me of the wide open sea."])


def test_a_tokenizer_that_fails_on_a_prompt_is_one_line() -> None:
    tokenizer = tokenizer_with(TEMPLATE)
    tokenizer.model_max_length = "many"
    with pytest.raises(InputError, match="tokenizer fails on a rendered prompt"):
        encode_prompts(tokenizer, ["Hello"])
    with pytest.raises(InputError, match="tokenizer fails on a rendered prompt"):
        encode_prompts(tokenizer_with("{{ '\\ud83d' }}" + TEMPLATE), ["Hello"])


@pytest.mark.parametrize("odd", [{"a": {"b": {}}}, ["{{ messages }}"], {"default": 3}])
def test_a_template_that_is_no_text(odd: object) -> None:
    """As ``special_tokens_map.json`` may give one."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = odd
    with pytest.raises(InputError, match="chat template is not text"):
        require_chat_template(tokenizer, "m")


def test_an_interrupted_rendering_leaves_no_reply_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    own = TemplateProcess()
    asked = [{"role": "user", "content": "First"}]
    monkeypatch.setattr(own, "_read", lambda deadline: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        own.render(TEMPLATE, asked, {})
    monkeypatch.undo()
    assert "Second" in own.render(TEMPLATE, [{"role": "user", "content": "Second"}], {})
    own.stop()
