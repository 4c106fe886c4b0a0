"""A strength applied as a correction gives, token for token in float32, what pruned weights of that strength give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.random_edits import random_edits
from helpers.served_answers import PROMPTS, answer_all, decoded, load, question

from prosafeprune.editing.edits import apply_edits
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Plan
from prosafeprune.model.loading import LoadedModel
from prosafeprune.serving.corrections import Applied
from prosafeprune.serving.engine import Engine
from prosafeprune.serving.served_edit import ServedEdit, from_difference

LAYERS = (0, 2)


def served_edit(loaded: LoadedModel, name: str = "pruned") -> ServedEdit:
    edits = random_edits(loaded.model, LAYERS, 1.0)
    plan = Plan(layers=LAYERS, rank=3, strength=(0.9, 0.4))
    return ServedEdit.of(name, plan, [(one.submodule, one.change(one.submodule.weight())) for one in edits], loaded)


def edited_answers(loaded: LoadedModel, strengths: tuple[float, float]) -> list[list[int]]:
    edits = random_edits(loaded.model, LAYERS)
    with apply_edits([replace(one, strength=strengths[LAYERS.index(one.submodule.layer)]) for one in edits]):
        return decoded(loaded)


@pytest.mark.long
@pytest.mark.parametrize(
    "architecture", ["llama", "qwen2", "gemma3", "phi3", "gpt2", "mixtral", "gpt_oss", "qwen2_moe"]
)
def test_corrections_equal_pruned_weights_token_for_token(architecture: str, checkpoint: Callable[..., Path]) -> None:
    loaded = load(checkpoint(architecture))
    wanted = {one: edited_answers(loaded, one) for one in ((0.9, 0.4), (0.6, 0.6), (0.0, 1.0))}
    base = decoded(loaded)
    edit = served_edit(loaded)
    engine = Engine(loaded, [edit])
    try:
        asked = [(prompt, strengths) for prompt in PROMPTS for strengths in [*wanted, None]]
        questions = [
            question(engine, prompt, applied=Applied(edit, edit.at(strengths)) if strengths else None)
            for prompt, strengths in asked
        ]
        found = [ids for ids, _ in answer_all(engine, questions)]
    finally:
        engine.close()
    expected = [
        wanted[strengths][PROMPTS.index(prompt)] if strengths else base[PROMPTS.index(prompt)]
        for prompt, strengths in asked
    ]
    assert found == expected
    assert all(wanted[one] != base for one in wanted)  # the edits do something
    assert decoded(loaded) == base  # and are gone with the engine


def test_two_edits_share_a_batch(checkpoint: Callable[..., Path]) -> None:
    loaded = load(checkpoint("llama"))
    edits = [served_edit(loaded, name) for name in ("one", "two")]
    engine = Engine(loaded, edits)
    try:
        asked = [question(engine, PROMPTS[0], applied=Applied(edit, edit.at(0.7))) for edit in edits]
        (one, _), (two, _) = answer_all(engine, asked)
    finally:
        engine.close()
    assert one == two == edited_answers(loaded, (0.7, 0.7))[0]


def test_strengths_are_checked(checkpoint: Callable[..., Path]) -> None:
    loaded = load(checkpoint("llama"))
    edit = served_edit(loaded)
    assert edit.at(None) == {0: 0.9, 2: 0.4}
    assert edit.at(0.5) == {0: 0.5, 2: 0.5}
    assert edit.at([0.0, 1.0]) == {0: 0.0, 2: 1.0}
    for wrong, message in ((1.5, "not from 0 to 1"), (float("nan"), "not from 0 to 1"), ([0.1], "1 strengths")):
        with pytest.raises(InputError, match=message):
            edit.at(wrong)
    without = replace(edit, layer_of={key: layer for key, layer in edit.layer_of.items() if layer == 0})
    assert without.at([0.5, 0.0]) == {0: 0.5}
    with pytest.raises(InputError, match="strength 0 in layer 2"):
        without.at(0.5)


def test_the_edit_of_a_checkpoint_is_found_from_its_difference() -> None:
    torch.manual_seed(0)
    weight, b, a = torch.randn(40, 30), torch.randn(40, 4), torch.randn(4, 30)
    found = from_difference(weight, weight + 0.8 * (b @ a), 4, 0.8)
    assert found is not None
    torch.testing.assert_close(found.b @ found.a, b @ a, rtol=1e-4, atol=1e-4)
    assert from_difference(weight, weight, 4, 0.8) is None


def test_rounding_of_the_stored_dtype_hardly_changes_the_edit() -> None:
    torch.manual_seed(0)
    weight, b, a = torch.randn(200, 300), torch.randn(200, 4), torch.randn(4, 300)
    pruned = (weight.bfloat16().float() + b @ a).bfloat16()
    found = from_difference(weight.bfloat16(), pruned, 4, 1.0)
    assert found is not None
    error = (found.b @ found.a - b @ a).norm()
    assert error < 0.25 * (pruned.float() - weight.bfloat16().float() - b @ a).norm()  # four directions of 200
