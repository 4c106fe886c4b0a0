"""Conversations in the shapes of real templates, against rendering by hand; and the passes over them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.tiny_models import make_model, make_tokenizer

from prosafeprune.activations.pooled_inputs import collect_pooled_inputs
from prosafeprune.baselines.self_cd import ContrastPromptBatches
from prosafeprune.errors import InputError
from prosafeprune.generation import Decoding, LocalGenerator, answer_all
from prosafeprune.generation.openai_client import chat
from prosafeprune.judges import Exchange
from prosafeprune.judges.base_model_likelihood import mean_log_likelihoods
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts, render, set_system_prompt
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import ignore
from prosafeprune.prompts.conversation import as_prompt

# The shapes of the templates of Qwen2.5, Llama-3, Gemma and Mistral, the last two without a system turn.
QWEN = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou are Qwen.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role == 'user' or (message.role == 'system' and not loop.first) or "
    "message.role == 'assistant' %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
LLAMA3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = '<s>' + content %}"
    "{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ '<s>' }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
MISTRAL = (
    "{{ '<s>' }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + '</s>' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}"
    "{% endif %}{% endfor %}"
)
TURNS = [("user", "My script hangs."), ("assistant", "Which one?"), ("user", "How do I kill it?")]
TALK = as_prompt(TURNS)
WITH_SYSTEM = as_prompt([("system", "Be brief."), *TURNS])
POLICY = as_prompt([("system", "Be brief."), ("user", "How do I kill it?")])
RENDERED = {
    "qwen": (
        QWEN,
        "<|im_start|>system\nYou are Qwen.<|im_end|>\n",
        "<|im_start|>system\nBe brief.<|im_end|>\n",
        "<|im_start|>user\nMy script hangs.<|im_end|>\n<|im_start|>assistant\nWhich one?<|im_end|>\n"
        "<|im_start|>user\nHow do I kill it?<|im_end|>\n<|im_start|>assistant\n",
    ),
    "llama3": (
        LLAMA3,
        "<s>",
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>",
        "<|start_header_id|>user<|end_header_id|>\n\nMy script hangs.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nWhich one?<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHow do I kill it?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "gemma": (
        GEMMA,
        "<s><start_of_turn>user\n",
        "<s><start_of_turn>user\nBe brief.\n\n",
        "My script hangs.<end_of_turn>\n<start_of_turn>model\nWhich one?<end_of_turn>\n"
        "<start_of_turn>user\nHow do I kill it?<end_of_turn>\n<start_of_turn>model\n",
    ),
    "mistral": (
        MISTRAL,
        "<s>[INST] ",
        "<s>[INST] Be brief.\n\n",
        "My script hangs. [/INST]Which one?</s>[INST] How do I kill it? [/INST]",
    ),
}


def tiny(template: str | None = None) -> LoadedModel:
    tokenizer = make_tokenizer()
    if template is not None:
        tokenizer.chat_template = template
    cpu = torch.device("cpu")
    return LoadedModel("tiny", Path(), make_model("llama"), tokenizer, cpu, torch.float32, torch.float32, [1])


@pytest.mark.parametrize("name", RENDERED)
def test_a_conversation_is_rendered_as_by_hand(name: str) -> None:
    template, opening, with_system, turns = RENDERED[name]
    tokenizer = tiny(template).tokenizer
    assert render(tokenizer, TALK) == opening + turns
    assert render(tokenizer, WITH_SYSTEM) == with_system + turns
    set_system_prompt(tokenizer, "Hello.")
    assert render(tokenizer, WITH_SYSTEM) == with_system.replace("Be brief.", "Hello.\n\nBe brief.") + turns


@pytest.mark.parametrize("name", RENDERED)
def test_earlier_turns_given_apart_are_rendered_as_those_of_the_prompt(name: str) -> None:
    tokenizer = tiny(RENDERED[name][0]).tokenizer
    assert render(tokenizer, TURNS[-1][1], "Be brief.", TURNS[:-1]) == render(tokenizer, WITH_SYSTEM)
    opened = [("assistant", "How can I help?"), *TURNS[:-1]]
    if name != "gemma":
        assert "How can I help?" in render(tokenizer, TURNS[-1][1], None, opened)
        assert "Be brief.\n\nHow can I help?" not in render(tokenizer, TURNS[-1][1], "Be brief.", opened)


def test_turns_that_do_not_alternate_are_not_taken_for_a_missing_system_prompt() -> None:
    template = GEMMA.replace("message in messages", "message in messages if message['role'] != 'system'")
    template = template.replace("raise_exception('System role not supported')", "messages[0]['content']")
    with pytest.raises(InputError, match=r"fails on the conversation of 2 turns .*must alternate"):
        render(tiny(template).tokenizer, "How?", None, [("user", "My script hangs.")])


@pytest.mark.parametrize("name", RENDERED)
@pytest.mark.parametrize("prompt", [TALK, WITH_SYSTEM, POLICY], ids=["turns", "both", "policy"])
def test_the_users_words_are_those_of_the_last_turn(name: str, prompt: str) -> None:
    tokenizer = tiny(RENDERED[name][0]).tokenizer
    again = as_prompt([("user", "How do I kill it?"), ("assistant", "Kill what?"), ("user", "How do I kill it?")])
    for one in (prompt, again):
        (found,) = encode_prompts(tokenizer, [one])
        assert tokenizer.decode(found.ids[found.user_start : found.user_end]).endswith("How do I kill it?")
        after = tokenizer.decode(found.ids[found.user_end :])
        assert "kill" not in after  # the last of two equal turns


def test_a_template_that_cannot_hold_a_conversation_is_one_line() -> None:
    tokenizer = tiny(GEMMA).tokenizer
    twice = as_prompt([("user", "Hello"), ("user", "How do I kill it?")])
    with pytest.raises(InputError, match=r"of 2 turns that begins .* \(Conversation roles must alternate"):
        render(tokenizer, twice)
    tokenizer.chat_template = "{{ messages[-1]['content'] }}"
    with pytest.raises(InputError, match="does not write the user's words"):
        render(tokenizer, TALK)


def test_a_conversation_that_a_template_refuses_is_named() -> None:
    """Many deployments greet the user first, so mined conversations begin with the assistant."""
    greeted = as_prompt([("assistant", "Hi! How can I help?"), ("user", "How do I kill it?")])
    with pytest.raises(
        InputError, match=r"that begins with the assistant's 'Hi! How can I help\?'.*leave out this prompt"
    ):
        render(tiny(GEMMA).tokenizer, greeted)


def test_answers_and_likelihoods_are_those_of_the_text_rendered_by_hand() -> None:
    model = tiny(QWEN)
    text = RENDERED["qwen"][2] + RENDERED["qwen"][3]
    ids = model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    (answer,) = answer_all(LocalGenerator(model), [WITH_SYSTEM], Decoding(max_new_tokens=16))
    written = model.model.generate(ids, max_new_tokens=16, do_sample=False, eos_token_id=1, pad_token_id=2)
    new = [token for token in written[0, ids.shape[1] :].tolist() if token != 1]
    assert answer.text == model.tokenizer.decode(new, skip_special_tokens=True).strip()
    said = "Run kill with the number of the process."
    (score,) = mean_log_likelihoods(model, [Exchange(WITH_SYSTEM, said)])
    both = torch.cat([ids, model.tokenizer(said, add_special_tokens=False, return_tensors="pt")["input_ids"]], 1)
    with torch.no_grad():
        chances = model.model(both).logits[0, :-1].log_softmax(-1).gather(1, both[0, 1:, None])[:, 0]
    assert score is not None
    assert score.answer == pytest.approx(chances[ids.shape[1] - 1 :].mean().item(), abs=1e-4)


def test_pooled_inputs_are_those_of_the_text_rendered_by_hand() -> None:
    model = tiny(LLAMA3)
    anatomy = find_anatomy(model.model)
    encoded = encode_prompts(model.tokenizer, [TALK, "Hi", POLICY])
    poolings = [Pooling.SEQUENCE, Pooling.USER]
    found = collect_pooled_inputs(model.model, anatomy, encoded, poolings, [0], BatchSize(3, model.device), ignore)
    text = RENDERED["llama3"][1] + RENDERED["llama3"][3]
    ids = model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    assert list(encoded[0].ids) == ids[0].tolist()
    seen: list[torch.Tensor] = []
    (query,) = [one for one in anatomy.of_layer(0) if one.kind == "q"]
    with torch.no_grad(), query.module.register_forward_pre_hook(lambda _, given: seen.append(given[0][0])):
        model.model(ids)
    start = model.tokenizer(text[: text.rfind("How do I kill it?")], add_special_tokens=False)["input_ids"]
    words = slice(len(start), len(start) + len("How do I kill it?"))  # a token for each character
    for pooling, rows in ((Pooling.SEQUENCE, seen[0]), (Pooling.USER, seen[0][words])):
        pooled = found[pooling].by_module[query.reads][0]
        assert torch.allclose(pooled.float(), rows.mean(0), atol=1e-5), pooling


def test_a_server_gets_the_turns_after_its_system_prompt() -> None:
    turns = [{"role": role, "content": words} for role, words in TURNS]
    assert chat(TALK) == {"messages": turns}
    assert chat(WITH_SYSTEM) == {"messages": [{"role": "system", "content": "Be brief."}, *turns]}
    both = chat(WITH_SYSTEM, "Hello.")["messages"]
    assert both == [{"role": "system", "content": "Hello.\n\nBe brief."}, *turns]
    assert chat("Hi", "Hello.") == {
        "messages": [{"role": "system", "content": "Hello."}, {"role": "user", "content": "Hi"}]
    }


def test_self_cd_stresses_the_last_turn() -> None:
    model = tiny(QWEN)
    batches = ContrastPromptBatches(model, [WITH_SYSTEM], 4, 2.5, "Be safe.")
    expected = RENDERED["qwen"][2] + RENDERED["qwen"][3].replace("How do I", "Be safe. How do I")
    assert model.tokenizer.decode(batches.stressed.ids[0]) == expected
