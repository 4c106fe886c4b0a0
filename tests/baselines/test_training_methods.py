"""What all methods that train have in common: answers, resuming, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helpers.slow_baselines as slow
import helpers.slow_training as literal
import pytest
import torch
from helpers.baseline_runs import PROMPTS, TOKENS, fit_context, loaded, texts
from helpers.training_runs import RATE, KindJudge, matrices_of

from prosafeprune.baselines.actor import Actor
from prosafeprune.baselines.low_rank import factor_tensors, stored_edits
from prosafeprune.baselines.method import FittedParts, Method
from prosafeprune.baselines.prompting import Default
from prosafeprune.baselines.safe_patching import SafePatching
from prosafeprune.baselines.sft import Sft
from prosafeprune.editing.edits import apply_edits
from prosafeprune.generation import Decoding
from prosafeprune.training.answer_loss import Example, make_examples
from prosafeprune.training.loop import Tuning, train
from prosafeprune.training.lora import lora

METHODS: list[Method] = [
    Sft(epochs=1, answer_tokens=4, rank=2, learning_rate=0.05),
    Actor(alpha=1.0, layer=1, rank=2, learning_rate=0.05),
    SafePatching(rank=2, weights=(3.0, 10.0), learning_rate=0.05, top_safety=0.4, top_compliance=0.3),
]


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("size", [1, 5])
def test_the_trained_model_answers_and_nothing_stays(method: Method, size: int, kind_judge: KindJudge) -> None:
    tiny = loaded("qwen2")
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    modules = [type(module) for module in tiny.model.modules()]
    default = texts(tiny, Default(), FittedParts(), size)
    fitted = method.fit(fit_context(tiny))
    changed = texts(tiny, method, fitted, size)
    assert changed != default
    begun = method.generator(tiny, 1, fitted).answer(PROMPTS, Decoding(max_new_tokens=2))
    next(begun)
    begun.close()
    assert all(torch.equal(value, before[name]) for name, value in tiny.model.state_dict().items())
    assert [type(module) for module in tiny.model.modules()] == modules
    assert all(parameter.grad is None for parameter in tiny.model.parameters())
    assert texts(tiny, Default(), FittedParts(), size) == default
    assert all(
        torch.equal(value, fitted.tensors[name]) for name, value in method.fit(fit_context(tiny)).tensors.items()
    )


def test_low_rank_parts_are_added_to_the_weights() -> None:
    tiny = loaded("gpt2")
    with lora(tiny.model, matrices_of(tiny), 2, 0) as training:
        for parameter in training.parameters:
            torch.nn.init.normal_(parameter, std=0.1)
        edits = training.learned()
    tensors = factor_tensors(edits)
    factors = {one.submodule.name: [one.change.a, one.change.b] for one in edits}
    expected = literal.weights(tiny, factors)
    with apply_edits(stored_edits(tiny, tensors)):
        for name, weight in expected.items():
            torch.testing.assert_close(tiny.model.get_parameter(name).detach(), weight, atol=1e-6, rtol=1e-5)
        assert texts(tiny, Default(), FittedParts(), 5) == [slow.plain(tiny, one, TOKENS) for one in PROMPTS]


# Resuming


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_an_interrupted_training_resumes_to_the_same_end(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.training.loop.SAVE_SECONDS", 0.0)
    tiny, tuning = loaded("llama"), Tuning(epochs=2, batch_size=2, rank=2, learning_rate=RATE)
    examples = make_examples(tiny, PROMPTS, ["Yes.", "No."])
    from functools import partial

    from prosafeprune.training.answer_loss import answer_loss

    def trained(file: Path | None, seen: list[int], halt: int | None = None) -> Any:
        def advance(count: int) -> None:
            seen.append(count)
            if len(seen) == halt:
                raise KeyboardInterrupt

        with lora(tiny.model, matrices_of(tiny), 2, 0) as training:
            steps = train(training.parameters, examples, partial(answer_loss, tiny), tuning, advance, saved_in=file)
            return steps, [one.detach().clone() for one in training.parameters]

    steps, expected = trained(None, [])
    assert len(steps) == 6
    file = tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trained(file, [], stop)
    seen: list[int] = []
    again, found = trained(file, seen)
    assert again == steps
    assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))
    assert sum(seen) == 10 and len(seen) == 6 - stop + 1  # those done count at once
    other, _ = trained(file, [], None)  # a finished one is only read
    assert other == steps
    file.write_bytes(b"no tensors")
    assert trained(file, [])[0] == steps


@pytest.mark.parametrize("architecture", ["deepseek_v3", "qwen3_moe", "qwen3_next"])
def test_dense_layers_and_shared_experts_of_mixtures_are_trained(architecture: str) -> None:
    tiny = loaded(architecture)
    matrices, before = matrices_of(tiny), [name for name, _ in tiny.model.named_modules()]
    assert any("mlp" in matrix.module_name for matrix in matrices)
    with lora(tiny.model, matrices, 2, 0) as training:
        assert [edit.submodule for edit in training.learned()] == matrices
        trained = {id(parameter) for parameter in tiny.model.parameters() if parameter.requires_grad}
        assert trained == set(map(id, training.parameters))
    assert [name for name, _ in tiny.model.named_modules()] == before
    assert all(parameter.requires_grad for parameter in tiny.model.parameters())


def test_examples_of_cut_answers_have_no_end() -> None:
    tiny = loaded("llama")
    cut, ended = make_examples(tiny, ["A", "B"], ["x", "y"], [False, True])
    assert isinstance(cut, Example) and len(cut.answer) == 1
    assert ended.answer[1:] == tuple(tiny.end_ids[:1])


def test_answers_end_with_the_token_that_the_template_writes() -> None:
    tiny = loaded("llama")
    tiny.end_ids.reverse()  # as in Llama 3, whose first end token ends a text, and no answer
    [ended] = make_examples(tiny, ["A"], ["x"])
    assert ended.answer[1:] == (tiny.tokenizer.eos_token_id,)
