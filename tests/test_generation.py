"""Greedy answers against ``model.generate``, one prompt at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import REQUIRED, make_model, make_tokenizer

from prosafeprune.generation.greedy import generate_greedy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat import end_of_turn_ids, render
from prosafeprune.model.loading import LoadedModel

PROMPTS = [
    "How do I kill a process?",
    "Hi",
    "Tell me about spaces and lines, at some length, please.",
    "Why?",
]
CPU = torch.device("cpu")


def loaded(architecture: str, end_ids: list[int]) -> LoadedModel:
    model, tokenizer = make_model(architecture), make_tokenizer()
    return LoadedModel("tiny", Path(), model, tokenizer, CPU, torch.float32, torch.float32, end_ids)


def reference(tiny: LoadedModel, prompt: str, tokens: int) -> str:
    ids = tiny.tokenizer(render(tiny.tokenizer, prompt), add_special_tokens=False, return_tensors="pt")["input_ids"]
    out = tiny.model.generate(
        ids,
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=tiny.end_ids,
        pad_token_id=2,
        attention_mask=torch.ones_like(ids),
    )
    new = [token for token in out[0, ids.shape[1] :].tolist() if token not in tiny.end_ids]
    return str(tiny.tokenizer.decode(new, skip_special_tokens=True)).strip()


@pytest.mark.parametrize("architecture", REQUIRED)
@pytest.mark.parametrize("size", [1, 4])
def test_answers_equal_generate(architecture: str, size: int) -> None:
    # Ordinary bytes serve as end tokens, so that rows of a batch end at different times.
    tiny = loaded(architecture, list(range(5, 30)))
    answers = generate_greedy(tiny, PROMPTS, 12, BatchSize(size, CPU), lambda done: None)
    assert answers.texts == [reference(tiny, prompt, 12) for prompt in PROMPTS]
    assert answers.batch_sizes == (size,) * (4 // size)


def test_a_row_that_has_ended_leaves_the_batch() -> None:
    tiny = loaded("llama", list(range(5, 60)))
    rows: list[int] = []
    tiny.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    generate_greedy(tiny, PROMPTS, 12, BatchSize(4, CPU), lambda done: None)
    steps = rows[1:]  # after the shared head
    assert steps[0] == 4
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < 4


def test_a_single_prompt_needs_no_shared_head() -> None:
    tiny = loaded("qwen2", [1])
    assert generate_greedy(tiny, ["Hi"], 6, BatchSize("auto", CPU), lambda done: None).texts == [
        reference(tiny, "Hi", 6)
    ]


def test_the_token_that_ends_a_turn_is_found_in_the_template() -> None:
    tokenizer = make_tokenizer()
    assert end_of_turn_ids(tokenizer, None) == [1]
    assert end_of_turn_ids(tokenizer, 77) == [77, 1]
    assert end_of_turn_ids(tokenizer, [1]) == [1]


def test_a_thought_that_the_template_opens_is_ended() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("<|assistant|>{%", "<|assistant|><think>\n{%")
    assert render(tokenizer, "Hi").endswith("<think>\n\n</think>\n\n")


def test_a_template_that_writes_the_date_writes_the_same_one_every_day() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    assert render(tokenizer, "Hi").startswith("01 Jan 2025")


def test_a_model_without_positions_or_kept_logits_is_run_without_them() -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.MptConfig(d_model=48, n_heads=4, n_layers=2, vocab_size=300, max_seq_len=256)
    model = transformers.MptForCausalLM(config).eval()
    tiny = LoadedModel("tiny", Path(), model, make_tokenizer(), CPU, torch.float32, torch.float32, [1])
    answers = generate_greedy(tiny, PROMPTS, 8, BatchSize(4, CPU), lambda done: None)
    assert answers.texts == [reference(tiny, prompt, 8) for prompt in PROMPTS]
