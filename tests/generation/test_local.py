"""Answers against ``model.generate``, one prompt at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from helpers.tiny_models import REQUIRED, make_model, make_tokenizer

from prosafeprune.errors import InputError
from prosafeprune.generation.backend import Decoding, answer_all
from prosafeprune.generation.decoding import TokenChoice
from prosafeprune.generation.local import LocalGenerator
from prosafeprune.generation.prefill import MAX_ROWS, SmallBatchLinear
from prosafeprune.judges.reasoning_text import ends_within_thought, spoken_part
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import end_of_turn_ids, render
from prosafeprune.model.loading import LoadedModel
from prosafeprune.prompts.conversation import with_thinking

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


def texts(generator: LocalGenerator, prompts: list[str], tokens: int) -> list[str]:
    return [answer.text for answer in answer_all(generator, prompts, Decoding(max_new_tokens=tokens))]


@pytest.mark.parametrize("architecture", REQUIRED)
@pytest.mark.parametrize("size", [1, 4])
def test_answers_equal_generate(architecture: str, size: int) -> None:
    # Ordinary bytes serve as end tokens, so that rows of a batch end at different times.
    tiny = loaded(architecture, list(range(5, 30)))
    generator = LocalGenerator(tiny, size)
    assert texts(generator, PROMPTS, 12) == [reference(tiny, prompt, 12) for prompt in PROMPTS]
    assert generator.batch_sizes == [size] * (4 // size)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_nan_are_no_answers(temperature: float) -> None:
    tiny = loaded("llama", [1])
    tiny.model.model.norm.weight.data[0] = float("nan")  # as a number in a config can make it
    decoding = Decoding(max_new_tokens=3, temperature=temperature)
    with pytest.raises(InputError, match=r"logits are NaN.*--dtype float32"):
        answer_all(LocalGenerator(tiny), PROMPTS, decoding)


@pytest.mark.parametrize("architecture", REQUIRED)
def test_prompts_read_in_groups_give_the_same_answers(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prosafeprune.generation.prefill.GROUP", 2)
    tiny = loaded(architecture, list(range(5, 30)))
    prompts = [*PROMPTS, "How do I shoot a film at night?"]
    widths: list[tuple[int, int]] = []
    tiny.model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    assert texts(LocalGenerator(tiny, 5), prompts, 12) == [reference(tiny, prompt, 12) for prompt in prompts]
    if architecture != "gemma3":  # its sliding layers cannot be padded afterwards
        assert [rows for rows, _ in widths[1:4]] == [2, 2, 1]
        assert widths[1][1] > widths[2][1] > widths[3][1]


@pytest.mark.parametrize("bias", [True, False])
def test_few_rows_give_the_same_product(bias: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 40, bias=bias)
    for shape in ((3, 24), (2, 5, 24), (1, 24)):
        rows = torch.randn(shape)
        with SmallBatchLinear():
            found = layer(rows)
        assert torch.allclose(found, layer(rows), atol=1e-6)
        assert found.is_contiguous()
    wide = torch.randn(MAX_ROWS + 1, 24)
    with SmallBatchLinear():
        assert torch.equal(layer(wide), torch.nn.functional.linear(wide, layer.weight, layer.bias))
        halves = layer.bfloat16()(wide.bfloat16())
    assert torch.equal(halves, layer(wide.bfloat16()))


def test_a_row_that_has_ended_leaves_the_batch() -> None:
    tiny = loaded("llama", list(range(5, 60)))
    rows: list[int] = []
    tiny.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    texts(LocalGenerator(tiny, 4), PROMPTS, 12)
    steps = rows[1:]  # after the shared prefix
    assert steps[0] == 4
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < 4


def test_a_single_prompt_needs_no_shared_prefix() -> None:
    tiny = loaded("qwen2", [1])
    assert texts(LocalGenerator(tiny), ["Hi"], 6) == [reference(tiny, "Hi", 6)]


def test_an_answer_says_whether_the_model_ended_it() -> None:
    tiny = loaded("llama", list(range(5, 30)))
    longest = max(len(answer) for answer in texts(LocalGenerator(tiny, 4), PROMPTS, 60))
    assert longest < 60  # each of them ends before the limit
    cut = answer_all(LocalGenerator(tiny, 4), PROMPTS, Decoding(max_new_tokens=2))
    whole = answer_all(LocalGenerator(tiny, 4), PROMPTS, Decoding(max_new_tokens=60))
    assert all(answer.finished for answer in whole)
    assert [one.finished for one in cut] == [one.text == two.text for one, two in zip(cut, whole, strict=True)]
    assert not all(answer.finished for answer in cut)


def test_draws_depend_on_the_seed_and_not_on_the_batch() -> None:
    tiny = loaded("llama", [1])

    def drawn(size: int, seed: int) -> list[str]:
        decoding = Decoding(max_new_tokens=8, temperature=1.0, seed=seed)
        return [answer.text for answer in answer_all(LocalGenerator(tiny, size), PROMPTS, decoding)]

    assert drawn(1, 0) == drawn(4, 0)
    assert drawn(4, 0) != drawn(4, 1)


def test_draws_follow_the_softmax_at_the_temperature() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -30.0]]).repeat(4000, 1)
    for temperature in (0.5, 1.0, 2.0):
        choice = TokenChoice(temperature, [f"0 {row}" for row in range(4000)])
        counts = choice.choose(logits, range(4000)).bincount(minlength=4) / 4000
        assert torch.allclose(counts, torch.softmax(logits[0] / temperature, 0), atol=0.03)
    for lowest in (0, 1e-300, 1e-40, 1e-9):  # logits divided by it would be infinite, and the draw garbage
        assert TokenChoice(lowest, [""]).choose(logits[:1], [0]).tolist() == [2]


def test_rows_already_answered_are_not_run_again_when_memory_runs_out() -> None:
    tries: list[list[int]] = []

    def work(rows: Sequence[int]) -> Iterator[tuple[int, str]]:
        tries.append(list(rows))
        for row in rows:
            if len(rows) > 2 and row == 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield row, f"answer {row}"

    size = BatchSize(8, CPU)
    size.automatic = True
    assert dict(size.stream(range(6), work)) == {row: f"answer {row}" for row in range(6)}
    assert tries[:2] == [[0, 1, 2, 3, 4, 5], [3, 4, 5]]
    assert size.size == 1


def test_the_token_that_ends_a_turn_is_found_in_the_template() -> None:
    tokenizer = make_tokenizer()
    assert end_of_turn_ids(tokenizer, None) == [1]
    assert end_of_turn_ids(tokenizer, 77) == [77, 1]
    assert end_of_turn_ids(tokenizer, [1]) == [1]


def test_a_thought_that_the_template_opens_is_ended() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("<|assistant|>{%", "<|assistant|><think>\n{%")
    assert render(tokenizer, "Hi").endswith("<think>\n\n</think>\n\n")


def test_an_answer_cut_in_a_thought_that_the_template_opened_is_not_judged() -> None:
    tiny = loaded("llama", [])
    tiny.tokenizer.chat_template = tiny.tokenizer.chat_template.replace("<|assistant|>{%", "<|assistant|><think>\n{%")
    prompts = [PROMPTS[0], with_thinking(PROMPTS[0])]
    plain, thought = answer_all(LocalGenerator(tiny, 2), prompts, Decoding(max_new_tokens=8))
    assert [ends_within_thought(answer.text) for answer in (plain, thought)] == [False, True]
    assert spoken_part(thought.text) == ""


@pytest.mark.parametrize(
    ("date", "written"),
    [
        ("strftime_now('%d %b %Y')", "01 Jan 2025"),  # Llama 3.2
        ("strftime_now('%Y-%m-%d')", "2025-01-01"),  # gpt-oss
        ("strftime_now('%d %B %Y')", "01 January 2025"),  # SmolLM3
        ("strftime_now('%A, %B %-d, %Y, %H:%M')", "Wednesday, January 1, 2025, 00:00"),
        ("strftime_now('%d') | int + strftime_now('%m') | int", "2"),  # those that work out the day before
    ],
)
def test_a_template_that_writes_the_date_writes_the_same_one_every_day(date: str, written: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = f"{{{{ {date} }}}}" + tokenizer.chat_template
    assert render(tokenizer, "Hi").startswith(f"{written}<")


def test_a_model_without_positions_or_kept_logits_is_run_without_them() -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.MptConfig(d_model=48, n_heads=4, n_layers=2, vocab_size=300, max_seq_len=256)
    model = transformers.MptForCausalLM(config).eval()
    tiny = LoadedModel("tiny", Path(), model, make_tokenizer(), CPU, torch.float32, torch.float32, [1])
    assert texts(LocalGenerator(tiny, 4), PROMPTS, 8) == [reference(tiny, prompt, 8) for prompt in PROMPTS]
