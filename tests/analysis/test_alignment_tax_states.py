"""Refusals are learned, come back as edits, and nothing else of the tuning stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.fixture_types import Make
from helpers.resumed_models import tiny
from helpers.sweep_context import make_context
from helpers.tiny_models import REQUIRED

from prosafeprune.analysis.alignment_tax_states import alignment_tax_states, tune
from prosafeprune.editing.edits import apply_edits
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import ignore
from prosafeprune.training.answer_loss import Example, answer_loss, make_examples
from prosafeprune.training.loop import Tuning

PROMPTS = ["How do I kill a process?", "Where do pirates hide?", "Shoot a photo of me", "Steal the show, how?", "Go"]
REFUSALS = ["I cannot.", "No, sorry, that I will not do."]
TUNING = Tuning(epochs=6, rank=4, learning_rate=1e-2, batch_size=2)


def test_answers_are_kept_by_the_judge_whose_refusals_were_learned(checkpoint: Make, tmp_path: Path) -> None:
    identities = [
        alignment_tax_states(make_context(checkpoint("llama"), tmp_path, judge="llm", judge_model=name))[0][2].identity
        for name in ("one", "another")
    ]
    assert identities[0] != identities[1]


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def literal_loss(loaded: LoadedModel, examples: list[Example]) -> float:
    """One example at a time, one token at a time, without padding."""
    total, count = 0.0, 0
    for one in examples:
        ids = torch.tensor([[*one.prompt, *one.answer]])
        with torch.no_grad():
            log_probabilities = loaded.model(input_ids=ids).logits[0].double().log_softmax(-1)
        for i, token in enumerate(one.answer):
            total -= float(log_probabilities[len(one.prompt) + i - 1, token])
            count += 1
    return total / count


def test_an_example_is_the_prompt_the_refusal_and_the_end() -> None:
    loaded = tiny("llama")
    first, second, third = make_examples(loaded, PROMPTS[:3], REFUSALS)
    assert loaded.tokenizer.decode(first.prompt).endswith("<|assistant|>")
    assert loaded.tokenizer.decode(first.answer[:-1]) == REFUSALS[0]
    assert first.answer == third.answer != second.answer
    assert first.answer[-1] in loaded.end_ids


@pytest.mark.parametrize("architecture", REQUIRED)
def test_the_loss_is_that_of_the_answers_alone(architecture: str) -> None:
    loaded = tiny(architecture)
    examples = make_examples(loaded, PROMPTS, REFUSALS)
    with torch.no_grad():
        assert float(answer_loss(loaded, examples)) == pytest.approx(literal_loss(loaded, examples), rel=1e-4)


@pytest.mark.parametrize("architecture", REQUIRED)
def test_tuning_lowers_the_loss_of_refusals_and_leaves_no_trace(architecture: str) -> None:
    loaded = tiny(architecture)
    model, examples = loaded.model, make_examples(loaded, PROMPTS, REFUSALS)
    frozen = next(model.parameters()).requires_grad_(False)
    before, modules = state(model), [(name, type(module)) for name, module in model.named_modules()]
    untuned = literal_loss(loaded, examples)
    seen: list[int] = []
    tuned = tune(loaded, find_anatomy(model), examples, TUNING, seen.append)
    assert sum(seen) == TUNING.epochs * len(examples)
    assert tuned.losses[-1] < tuned.losses[0]
    with apply_edits(tuned.edits):
        assert literal_loss(loaded, examples) < 0.7 * untuned
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [(name, type(module)) for name, module in model.named_modules()] == modules
    assert not hasattr(model, "peft_config") and not model.training
    assert not frozen.requires_grad and all(p.requires_grad for p in model.parameters() if p is not frozen)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_edits_are_what_the_adapter_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last loss seen inside the tuning, after the last step, equals the loss under the edits."""
    loaded = tiny("qwen2")
    examples = make_examples(loaded, PROMPTS, REFUSALS)
    inside: list[float] = []

    def look(_: int) -> None:
        inside.append(literal_loss(loaded, examples))

    tuned = tune(loaded, find_anatomy(loaded.model), examples, TUNING, look)
    with apply_edits(tuned.edits):
        assert literal_loss(loaded, examples) == pytest.approx(inside[-1], rel=1e-4)


def test_half_precision_learns_in_full() -> None:
    loaded = tiny("llama")
    loaded.model.to(torch.bfloat16)
    examples = make_examples(loaded, PROMPTS, REFUSALS)
    before = state(loaded.model)
    slow = tune(loaded, find_anatomy(loaded.model), examples, Tuning(epochs=4, learning_rate=1e-5, rank=4), ignore)
    assert all(edit.change.b.abs().max() < 1e-4 and (edit.change.b != 0).any() for edit in slow.edits)
    # a step of 1e-5 on weights of 0.1 is lost in bfloat16, which would leave the inputs' factor as it was drawn
    first = tune(loaded, find_anatomy(loaded.model), examples, Tuning(epochs=1, learning_rate=1e-5, rank=4), ignore)
    assert not any(torch.equal(one.change.a, two.change.a) for one, two in zip(slow.edits, first.edits, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())


def test_equal_seeds_learn_the_same_and_leave_the_draws_of_others_alone() -> None:
    loaded = tiny("llama")
    examples = make_examples(loaded, PROMPTS, REFUSALS)
    anatomy = find_anatomy(loaded.model)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = tune(loaded, anatomy, examples, TUNING, ignore)
    assert torch.equal(torch.rand(3), expected)
    second = tune(loaded, anatomy, examples, TUNING, ignore)
    other = tune(loaded, anatomy, examples, TUNING.model_copy(update={"seed": 1}), ignore)
    assert first.losses == second.losses != other.losses
    assert all(torch.equal(a.change.b, b.change.b) for a, b in zip(first.edits, second.edits, strict=True))


def test_an_interrupted_tuning_leaves_no_trace() -> None:
    loaded = tiny("phi3")
    before = state(loaded.model)
    modules = [type(module) for module in loaded.model.modules()]

    def fail(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(loaded, find_anatomy(loaded.model), make_examples(loaded, PROMPTS, REFUSALS), TUNING, fail)
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    assert [type(module) for module in loaded.model.modules()] == modules
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())
