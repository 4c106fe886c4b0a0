"""How far methods that steer, prompt or decode otherwise are from the base model, against literal loops.

The loops run one prompt at a time, and the whole sequence again for each token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import helpers.slow_baselines as slow
import numpy as np
import pytest
import torch
from helpers.baseline_runs import BENIGN, ENDS, HARMFUL, PROMPTS, fit_context, left_as_it_was, loaded

from prosafeprune.baselines.method import FittedParts, Method
from prosafeprune.baselines.null_space import NullSpace
from prosafeprune.baselines.prompting import STRATEGIES, Default, Prompting
from prosafeprune.baselines.scan import Scan
from prosafeprune.baselines.self_cd import SelfCd
from prosafeprune.errors import InputError
from prosafeprune.evaluation.divergence import Divergence, decoded_base, divergence_of_decoding, record_base_answers
from prosafeprune.generation import EditedGenerator, Generator, LocalGenerator, TimedGenerator
from prosafeprune.generation.local import following
from prosafeprune.generation.prompt_batches import ChatPromptBatches
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.residual_stream import changed_outputs

POSITIONS = 6
ENDING = [*ENDS, 71, 74, 105]
"""Bytes that end answers of each of these models early or late."""
ARCHITECTURES = ["llama", "gemma3", "gpt2"]
Logits = Callable[[Sequence[int]], torch.Tensor]
"""Next-token logits behind the tokens of an answer."""
Plain = Callable[[], AbstractContextManager[None]]


def measured(tiny: LoadedModel, generator: Generator, size: int) -> Divergence:
    base = record_base_answers(tiny, PROMPTS, BatchSize(size, tiny.device), tokens=POSITIONS)
    follow = following(generator)
    assert follow is not None
    steps: list[float] = []
    found = divergence_of_decoding(decoded_base(base, LocalGenerator(tiny, size)), follow, steps.append)
    assert sum(steps) == len(PROMPTS)
    return found


def literal(tiny: LoadedModel, of_prompt: Callable[[str], tuple[Logits, Plain]]) -> list[list[float]]:
    """``KL(base || method)`` by prompt and position, along the base model's greedy answers."""
    found = []
    for prompt in PROMPTS:
        ids, written, values = slow.ids_of(tiny, prompt), list[int](), list[float]()
        next_logits, changed = of_prompt(prompt)
        for _ in range(POSITIONS):
            p = slow.last_logits(tiny, ids + written).double().softmax(-1)
            with changed():
                q = next_logits(written).double().softmax(-1)
            values.append(float((p * (p / q).log()).sum()))
            token = int(p.argmax())
            if token in tiny.end_ids:
                break
            written.append(token)
        found.append(values)
    return found


def assert_measured(tiny: LoadedModel, make: Callable[[int], Generator], expected: list[list[float]]) -> None:
    means = [np.mean(values) for values in expected]
    assert min(means) > 1e-4
    assert len({len(values) for values in expected}) > 1  # answers end at different places
    for size in (1, 2, 5):
        found = measured(tiny, make(size), size)
        assert found.mean == pytest.approx(np.mean(means), rel=5e-3)
        assert found.worst == pytest.approx(max(means), rel=5e-3)
        assert found.worst_prompt == PROMPTS[int(np.argmax(means))]
        assert (found.prompts, found.positions) == (len(PROMPTS), sum(map(len, expected)))
        at = [[values[i] for values in expected if len(values) > i] for i in range(POSITIONS)]
        assert found.per_position == pytest.approx([np.mean(each) for each in at if each], rel=1e-2, abs=1e-5)


def generators(tiny: LoadedModel, method: Method, fitted: FittedParts) -> Callable[[int], Generator]:
    return lambda size: method.generator(tiny, size, fitted)


def behind(tiny: LoadedModel, ids: Sequence[int]) -> Logits:
    return lambda written: slow.last_logits(tiny, [*ids, *written])


@pytest.mark.parametrize("name", ["helpful", "interactive"])
def test_a_prompting_s_divergence_is_that_behind_the_longer_prefix(name: str) -> None:
    tiny, strategy = loaded("llama"), STRATEGIES[name]
    turns = [("system", strategy.system)] if strategy.system else list(strategy.history)

    def of_prompt(prompt: str) -> tuple[Logits, Plain]:
        messages = [{"role": role, "content": words} for role, words in [*turns, ("user", prompt)]]
        text = tiny.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return behind(tiny, tiny.tokenizer(text, add_special_tokens=False)["input_ids"]), nullcontext

    assert_measured(tiny, generators(tiny, Prompting(strategy=name), FittedParts()), literal(tiny, of_prompt))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_self_cd_s_divergence_is_that_of_the_contrasted_logits(architecture: str) -> None:
    tiny, method = loaded(architecture, ENDING), SelfCd(ratio=1.5, stress="Be careful.")

    def of_prompt(prompt: str) -> tuple[Logits, Plain]:
        with_, without = slow.ids_of(tiny, f"Be careful. {prompt}"), slow.ids_of(tiny, prompt)

        def contrasted(written: Sequence[int]) -> torch.Tensor:
            z_with, z_without = (slow.last_logits(tiny, [*ids, *written]) for ids in (with_, without))
            return z_with - 1.5 * (z_with - z_without)

        return contrasted, nullcontext

    assert_measured(tiny, generators(tiny, method, FittedParts()), literal(tiny, of_prompt))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scan_s_divergence_is_that_of_steered_states(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prosafeprune.generation.prefill.GROUP", 2)
    tiny = loaded(architecture, ENDING)
    cosines = dict(zip(PROMPTS, slow.scan_cosines(tiny, PROMPTS, HARMFUL, 1), strict=True))
    threshold = sum(sorted(cosines.values())[1:3]) / 2
    vectors, layers = slow.scan_vectors(tiny, HARMFUL, BENIGN), list(find_anatomy(tiny.model).layers)

    def of_prompt(prompt: str) -> tuple[Logits, Plain]:
        ids = slow.ids_of(tiny, prompt)
        start = slow.end_of_turn(tiny, ids, prompt)
        length = 3.5 if cosines[prompt] >= threshold else -3.5

        def add(number: int, hidden: torch.Tensor) -> torch.Tensor:
            steered = (torch.arange(hidden.shape[1]) >= start)[None, :, None]
            return hidden + steered * length * vectors[number] if number in (1, 2) else hidden

        return behind(tiny, ids), lambda: slow.wrapped(layers, add)

    method = Scan(threshold=threshold, first_layer=1, end_layer=3)
    assert_measured(tiny, generators(tiny, method, method.fit(fit_context(tiny))), literal(tiny, of_prompt))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_null_space_s_divergence_is_that_of_steered_states(architecture: str) -> None:
    tiny, method = loaded(architecture, ENDING), NullSpace(strength=30.0)
    fitted = method.fit(fit_context(tiny))
    reader, shift = fitted.tensors["readers"][0], 30.0 * fitted.tensors["targets"][0]
    first = find_anatomy(tiny.model).layers[0]

    def of_prompt(prompt: str) -> tuple[Logits, Plain]:
        ids = slow.ids_of(tiny, prompt)

        def change(_: int, states: torch.Tensor) -> torch.Tensor:
            amount = float(states[0, len(ids) - 1] @ reader)
            steered = (torch.arange(states.shape[1]) >= len(ids) - 1)[None, :, None]
            return states + steered * amount * shift

        return behind(tiny, ids), lambda: slow.wrapped([first], change)

    assert_measured(tiny, generators(tiny, method, fitted), literal(tiny, of_prompt))


def test_a_changed_model_behind_a_prompt_is_followed_too() -> None:
    tiny = loaded("llama")
    layers = find_anatomy(tiny.model).layers

    def make(size: int) -> Generator:
        prompted = LocalGenerator(tiny, size, partial(ChatPromptBatches, system="Be kind."))
        change = partial(changed_outputs, {1: layers[1]}, lambda number: lambda states: 1.3 * states)
        return EditedGenerator(prompted, change)

    def of_prompt(prompt: str) -> tuple[Logits, Plain]:
        def larger(_: int, states: torch.Tensor) -> torch.Tensor:
            return 1.3 * states

        return behind(tiny, slow.ids_of(tiny, prompt, "Be kind.")), lambda: slow.wrapped([layers[1]], larger)

    assert_measured(tiny, make, literal(tiny, of_prompt))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_unchanged_model_has_not_moved(dtype: torch.dtype) -> None:
    tiny = loaded("llama")
    tiny.model.to(dtype)
    assert 0 <= measured(tiny, Default().generator(tiny, 3, FittedParts()), 3).worst < 1e-5


@pytest.mark.parametrize("method", [SelfCd(), NullSpace(strength=1.0), Scan(first_layer=1, end_layer=3)])
def test_the_model_is_left_as_it_was(method: Method) -> None:
    with left_as_it_was() as tiny:
        measured(tiny, method.generator(tiny, 2, method.fit(fit_context(tiny))), 2)


def test_a_generator_of_another_kind_gives_no_logits() -> None:
    tiny = loaded("llama")

    class Own(LocalGenerator):
        def answer(self, prompts: Any, decoding: Any) -> Any:
            yield from super().answer(prompts, decoding)

    for generator in (Own(tiny), TimedGenerator(LocalGenerator(tiny)), EditedGenerator(Own(tiny), nullcontext)):
        assert following(generator) is None


def test_output_that_is_not_finite_is_one_line() -> None:
    tiny = loaded("llama")
    base = record_base_answers(tiny, PROMPTS, BatchSize(5, tiny.device), tokens=2)

    def follow(prompts: Any, answers: Any) -> Any:
        yield 0, torch.full((1, 300), torch.nan)

    with pytest.raises(InputError, match="its output is not finite"):
        divergence_of_decoding(base, follow)
