"""The lens: refusal words that come up where they were planted, and what the model itself makes of its states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.analysis_context import CPU, TEXTS, by_layer, context_of, letter_id
from helpers.tiny_models import CONFIGS, make_model, make_tokenizer

from prosafeprune.analysis.last_states import collect_last_states, unembed
from prosafeprune.analysis.lens_analysis import LensAnalysis, RefusalWords, find_refusal_words
from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.parsing import validate_settings


@contextmanager
def speaking_up(model: Any, layer: int, direction: torch.Tensor) -> Iterator[None]:
    """Add a direction to what leaves a layer, in prompts that end with the harmful letter."""
    letter = letter_id(PromptClass.HARMFUL)
    read: list[torch.Tensor] = []

    def before(module: Any, arguments: Any, options: Any) -> None:
        read[:] = [options["input_ids"]]

    def after(module: Any, arguments: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        if states.shape[1] == read[0].shape[1]:
            states += (read[0] == letter).any(dim=1)[:, None, None] * direction
        return output

    handles = [
        model.register_forward_pre_hook(before, with_kwargs=True),
        model.model.layers[layer].register_forward_hook(after),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_the_lens_finds_the_layer_where_refusal_words_come_up() -> None:
    model = make_model("llama")
    with torch.no_grad():
        for layer in model.model.layers:  # so that what is planted stays as it is
            layer.self_attn.o_proj.weight.mul_(0.01)
            layer.mlp.down_proj.weight.mul_(0.01)
    letter = make_tokenizer()("I", add_special_tokens=False)["input_ids"][0]
    direction = model.lm_head.weight[letter].detach()
    with speaking_up(model, 1, 100 * direction / direction.norm()):
        context, analysis = context_of(model), LensAnalysis()
        found = analysis.conclude(context.request, analysis.observe(context, None), None)
    harmful = by_layer(found, "probability", **{"class": "harmful"})
    assert harmful[0] < 0.1 and harmful[1] > 0.5 and harmful[2] > 0.5
    assert max(by_layer(found, "probability", **{"class": "pseudo-harmful"}).values()) < 0.1
    counted = [row for row in found.table("tokens").rows if row[3] == "yes"]
    assert [row[1] for row in counted] == ["I"]
    assert found.table("output").title == "Probability that an answer begins with I, after layer 2"
    assert "Not counted, since no form is a single token: sorry, cannot." in found.summary


@pytest.mark.parametrize("architecture", list(CONFIGS))
def test_behind_the_last_layer_the_lens_is_the_models_own_output(architecture: str) -> None:
    model, tokenizer = make_model(architecture), make_tokenizer()
    loaded: Any = SimpleNamespace(model=model, tokenizer=tokenizer, device=CPU, name="tiny")
    anatomy, encoded = find_anatomy(model), encode_prompts(tokenizer, TEXTS[:5])
    last = collect_last_states(loaded, anatomy, encoded, BatchSize(2, CPU))
    assert last.states.shape == (3, 5, 48)
    with torch.inference_mode():
        whole = [model(input_ids=torch.tensor([one.ids]), output_hidden_states=True) for one in encoded]
    for layer in range(3):
        read = dict(unembed(loaded, anatomy, last, layer, BatchSize(2, CPU)))
        for row, one in enumerate(whole):
            if layer == 2:
                torch.testing.assert_close(read[row], one.logits[0, -1], rtol=1e-3, atol=1e-4)
            else:
                torch.testing.assert_close(
                    last.states[layer, row], one.hidden_states[layer + 1][0, -1], rtol=1e-3, atol=1e-4
                )
                assert not torch.allclose(read[row], one.logits[0, -1], atol=1e-3)


def test_the_lens_applies_norm_and_head_in_between() -> None:
    model = make_model("llama")
    loaded: Any = SimpleNamespace(model=model, tokenizer=make_tokenizer(), device=CPU, name="tiny")
    anatomy = find_anatomy(model)
    last = collect_last_states(loaded, anatomy, encode_prompts(loaded.tokenizer, TEXTS[:3]), BatchSize(4, CPU))
    for row, logits in unembed(loaded, anatomy, last, 0, BatchSize(4, CPU)):
        torch.testing.assert_close(logits, model.lm_head(model.model.norm(last.states[0, row])), rtol=1e-4, atol=1e-5)


def test_empty_refusal_words_are_left_out() -> None:
    assert validate_settings(AnalyzeRequest, {"model": "m", "refusal_words": ["", " no "]}).refusal_words == ("no",)
    with pytest.raises(InputError, match="refusal_words: must not be empty"):
        validate_settings(AnalyzeRequest, {"model": "m", "refusal_words": [" "]})


def test_forms_of_refusal_words() -> None:
    known = {"I": [7], " I": [8], "sorry": [1, 2], " sorry": [3], "Sorry": [4], " Sorry": [5, 6]}

    def tokenizer(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": known[text]}

    found = find_refusal_words(tokenizer, ["I", "sorry"])
    assert found.counted_ids == [7, 8, 4, 3]
    assert RefusalWords.from_arrays(found.as_arrays()) == found
    assert found.table().rows[2] == ("sorry", "sorry", "1 2", "no")
