"""Divergence from the source, against a float64 computation of one prompt at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_models import REQUIRED, make_model, make_tokenizer

from prosafeprune.errors import InputError
from prosafeprune.evaluation.divergence import Divergence, divergence_from_base, record_base_answers, token_divergence
from prosafeprune.evaluation.intervals import bootstrap_mean_interval
from prosafeprune.model import storage as module
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import render
from prosafeprune.model.loading import LoadedModel

PROMPTS = [
    "How do I bake bread?",
    "Hi",
    "Tell me about rivers and the towns beside them, at some length, please.",
    "Why is the sky blue?",
    "Name a tree.",
]
CPU = torch.device("cpu")
SOME_BYTES = list(range(5, 40))
"""Ordinary bytes serve as end tokens, so that answers end at different places."""


def tiny(architecture: str, end_ids: Sequence[int] = SOME_BYTES, dtype: torch.dtype = torch.float32) -> LoadedModel:
    model = make_model(architecture, dtype)
    return LoadedModel("tiny", Path(), model, make_tokenizer(), CPU, dtype, dtype, list(end_ids))


def change(loaded: LoadedModel, scale: float = 0.02) -> LoadedModel:
    """Disturb every matrix but the embeddings and the head, in place."""
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            if parameter.ndim == 2 and not any(word in name for word in ("embed", "wte", "wpe", "lm_head")):
                parameter.add_(torch.randn_like(parameter) * scale)
    return loaded


def naive(source: LoadedModel, changed: LoadedModel, prompt: str, tokens: int) -> list[float]:
    """Return the divergence at each position, one token and one prompt at a time, in float64."""
    text = render(source.tokenizer, prompt)
    ids = source.tokenizer(text, add_special_tokens=False)["input_ids"]
    one, two = source.model.double(), changed.model.double()
    values = []
    with torch.no_grad():
        for _ in range(tokens):
            p = torch.softmax(one(torch.tensor([ids])).logits[0, -1], dim=-1)
            q = torch.softmax(two(torch.tensor([ids])).logits[0, -1], dim=-1)
            values.append(float((p * (p / q).log()).sum()))
            ids = [*ids, int(p.argmax())]
            if ids[-1] in source.end_ids:
                break
    return values


def measure(architecture: str, size: int, prompts: Sequence[str] = PROMPTS, tokens: int = 6) -> Divergence:
    loaded = tiny(architecture)
    source = record_base_answers(loaded, prompts, BatchSize(size, CPU), tokens=tokens)
    return divergence_from_base(source, change(loaded), BatchSize(size, CPU))


@pytest.mark.long
@pytest.mark.parametrize("architecture", REQUIRED)
@pytest.mark.parametrize("size", [1, 5])
def test_it_equals_a_float64_computation_one_prompt_at_a_time(architecture: str, size: int) -> None:
    found = measure(architecture, size)
    by_prompt = [naive(tiny(architecture), change(tiny(architecture)), prompt, 6) for prompt in PROMPTS]
    assert len({len(values) for values in by_prompt}) > 1  # answers end at different places
    means = [np.mean(values) for values in by_prompt]
    assert found.mean == pytest.approx(np.mean(means), rel=5e-3)
    assert found.worst == pytest.approx(max(means), rel=5e-3)
    assert found.worst_prompt == PROMPTS[int(np.argmax(means))]
    assert found.percentile_95 == pytest.approx(np.quantile(means, 0.95), rel=5e-3)
    assert (found.prompts, found.tokens, found.positions) == (5, 6, sum(map(len, by_prompt)))
    longest = max(map(len, by_prompt))
    expected = [np.mean([values[i] for values in by_prompt if len(values) > i]) for i in range(longest)]
    assert found.per_position == pytest.approx(expected, rel=2e-2)
    assert found.low <= found.mean <= found.high


@pytest.mark.parametrize("architecture", REQUIRED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_has_not_moved_from_itself(architecture: str, dtype: torch.dtype) -> None:
    loaded = tiny(architecture, dtype=dtype)
    source = record_base_answers(loaded, PROMPTS, BatchSize(3, CPU))
    found = divergence_from_base(source, loaded, BatchSize(3, CPU))
    assert 0 <= found.mean <= found.worst < 1e-5


def test_the_position_where_an_answer_ends_is_the_last_one_counted() -> None:
    loaded = tiny("llama", range(300))  # every token ends an answer
    source = record_base_answers(loaded, PROMPTS, BatchSize("auto", CPU), tokens=4)
    assert source.answers == ((),) * 5
    assert divergence_from_base(source, loaded, BatchSize("auto", CPU)).positions == 5
    endless = record_base_answers(tiny("llama", []), PROMPTS, BatchSize("auto", CPU), tokens=4)
    assert {len(answer) for answer in endless.answers} == {3}
    assert divergence_from_base(endless, loaded, BatchSize("auto", CPU)).positions == 20


def test_one_prompt_and_one_token_are_enough() -> None:
    found = measure("qwen2", 1, PROMPTS[:1], tokens=1)
    [expected] = naive(tiny("qwen2"), change(tiny("qwen2")), PROMPTS[0], 1)
    assert found.mean == pytest.approx(expected, rel=5e-3)
    assert found.low == found.mean == found.high == found.worst


def test_attention_that_looks_back_less_far_than_the_prompts_are_long() -> None:
    prompts = ["Tell me of " + "very " * 20 + "old maps", "Tell me of bees"]
    found = measure("gemma3", 2, prompts)
    means = [np.mean(naive(tiny("gemma3"), change(tiny("gemma3")), prompt, 6)) for prompt in prompts]
    assert found.mean == pytest.approx(np.mean(means), rel=5e-3)


def test_each_token_is_compared_exactly() -> None:
    generator = torch.Generator().manual_seed(3)
    log_p = (3 * torch.randn(4, 5000, generator=generator, dtype=torch.float64)).log_softmax(-1)
    log_q = (log_p + 0.1 * torch.randn(4, 5000, generator=generator, dtype=torch.float64)).log_softmax(-1)
    exact = (log_p.exp() * (log_p - log_q)).sum(-1)
    torch.testing.assert_close(token_divergence(log_p, log_q), exact, rtol=1e-9, atol=0)
    torch.testing.assert_close(token_divergence(log_p.half(), log_q), exact, rtol=5e-3, atol=0)
    assert (token_divergence(log_p.half(), log_p) < 1e-5).all()
    assert (token_divergence(log_p, log_q + 5) >= 0).all()  # logits need not be normalised


def test_tokens_of_no_probability_add_nothing() -> None:
    log_p = torch.tensor([[0.5, 0.5, 0.0]]).log()
    logits = torch.tensor([[1.0, 1.0, -torch.inf]])
    assert token_divergence(log_p, logits).tolist() == [0.0]
    assert token_divergence(log_p, torch.tensor([[1.0, 1.0, 1.0]])).tolist() == pytest.approx([np.log(1.5)])
    assert token_divergence(logits, torch.tensor([[1.0, -torch.inf, 1.0]])).tolist() == [torch.inf]


def test_much_is_kept_in_a_temporary_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_memory = measure("llama", 2)
    monkeypatch.setattr(module, "KEPT_IN_MEMORY", 1000)
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    assert measure("llama", 2) == in_memory
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(InputError, match="Make room"):
        measure("llama", 2)


def test_models_of_another_kind_are_refused() -> None:
    source = record_base_answers(tiny("llama"), PROMPTS, BatchSize("auto", CPU))
    other = tiny("llama")
    other.tokenizer.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(InputError, match="tokenises prompts differently"):
        divergence_from_base(source, other, BatchSize("auto", CPU))
    wider = tiny("llama")
    wider.model.resize_token_embeddings(310)
    with pytest.raises(InputError, match="310 output tokens and its base model 300"):
        divergence_from_base(source, wider, BatchSize("auto", CPU))


def test_output_that_is_not_finite_is_refused() -> None:
    loaded = tiny("llama")
    source = record_base_answers(loaded, PROMPTS, BatchSize("auto", CPU))
    with torch.no_grad():
        loaded.model.lm_head.weight[3] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        divergence_from_base(source, loaded, BatchSize("auto", CPU))


def test_shared_opening_is_run_once_and_longest_prompts_go_first() -> None:
    loaded = tiny("llama")
    source = record_base_answers(loaded, PROMPTS, BatchSize(2, CPU))
    seen: list[tuple[int, int]] = []
    loaded.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    divergence_from_base(source, loaded, BatchSize(2, CPU))
    assert [rows for rows, _ in seen] == [1, 2, 2, 1]  # the head, then one pass a batch
    widths = [width for _, width in seen[1:]]
    assert widths == sorted(widths, reverse=True)


def test_a_batch_size_that_may_be_chosen_is_at_most_the_sources() -> None:
    loaded = tiny("llama")
    source = record_base_answers(loaded, PROMPTS, BatchSize(2, CPU))
    chosen = BatchSize("auto", CPU)
    divergence_from_base(source, loaded, chosen)
    assert chosen.size == source.batch_size == 2
    fixed = BatchSize(5, CPU)
    divergence_from_base(source, loaded, fixed)
    assert fixed.size == 5


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_mean_interval(generator.exponential(2.0, size=60), resamples=400)
        covered += low <= 2.0 <= high
    assert 0.88 <= covered / 200 <= 0.99
    assert bootstrap_mean_interval([3.0]) == (3.0, 3.0)
    assert bootstrap_mean_interval([1, 2, 9]) == bootstrap_mean_interval([1, 2, 9])
