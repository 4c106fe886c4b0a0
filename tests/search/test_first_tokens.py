"""The first answer tokens and their states by resumed passes, against decoding every token by complete passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.random_edits import random_edits
from helpers.resumed_models import tiny, whole_pass
from helpers.tiny_models import REQUIRED

from prosafeprune.editing.in_memory import apply_edits
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.resume import ForcedText, ResumedModel
from prosafeprune.search.first_tokens import FirstTokenStates

PROMPTS = ["Hi", "How do I kill a Python process?", "Tell me of the sea and of the ships on it, in a few words", "Why?"]
CPU = torch.device("cpu")


def by_hand(loaded: LoadedModel, ids: tuple[int, ...], tokens: int) -> tuple[tuple[int, ...], np.ndarray]:
    first: tuple[int, ...] = ()
    while len(first) < tokens:
        token = int(whole_pass(loaded, ForcedText(ids, first))[1][-1].argmax())
        if token in loaded.end_ids:
            break
        first += (token,)
    hidden = whole_pass(loaded, ForcedText(ids, first))[0].double().numpy()
    return first, (hidden[1:] if first else hidden).mean(axis=0)


def prompt_ids(loaded: LoadedModel) -> list[tuple[int, ...]]:
    return [encoded.ids for encoded in encode_prompts(loaded.tokenizer, PROMPTS)]


@pytest.mark.parametrize("architecture", REQUIRED)
def test_states_at_first_tokens_before_and_after_an_edit(architecture: str) -> None:
    loaded = tiny(architecture)
    ids = prompt_ids(loaded)
    first_tokens = FirstTokenStates(loaded, find_anatomy(loaded.model), ids, 3, [1, 2], BatchSize(2, CPU))
    before = [by_hand(loaded, one, 3) for one in ids]
    assert [text.answer_ids for text in first_tokens.model.texts] == [first for first, _ in before]
    np.testing.assert_allclose(first_tokens.states(2), np.stack([states for _, states in before]), atol=2e-4)

    rejected = set()
    for layer in (1, 2):
        with apply_edits(random_edits(loaded.model, [layer], strength=1.0)):
            after = [by_hand(loaded, one, 3) for one in ids]
            np.testing.assert_allclose(first_tokens.states(layer), np.stack([states for _, states in after]), atol=2e-4)
        rejected |= {index for index, (one, two) in enumerate(zip(before, after, strict=True)) if one[0] != two[0]}
    assert rejected  # else decoding again was not tested


def test_prompts_whose_draft_is_accepted_are_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny("llama")
    first_tokens = FirstTokenStates(loaded, find_anatomy(loaded.model), prompt_ids(loaded), 2, [1], BatchSize(4, CPU))

    def no_decoding(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(first_tokens, "_decode", no_decoding)
    assert first_tokens.states(1).shape == (len(PROMPTS), loaded.model.config.hidden_size)


def test_an_empty_answer_has_the_state_at_the_last_prompt_token() -> None:
    loaded = tiny("llama")
    ids = prompt_ids(loaded)
    immediate = {int(whole_pass(loaded, ForcedText(one))[1][-1].argmax()) for one in ids}
    ending = LoadedModel(**{**vars(loaded), "end_ids": [*loaded.end_ids, *immediate]})
    first_tokens = FirstTokenStates(ending, find_anatomy(loaded.model), ids, 2, [1], BatchSize(4, CPU))
    assert all(text.answer_ids == () for text in first_tokens.model.texts)
    expected = np.stack([whole_pass(loaded, ForcedText(one))[0][-1].double().numpy() for one in ids])
    np.testing.assert_allclose(first_tokens.states(1), expected, atol=2e-4)


def test_a_model_without_kept_layers_runs_nothing_until_asked() -> None:
    loaded = tiny("llama")
    anatomy = find_anatomy(loaded.model)
    passes: list[int] = []
    handle = anatomy.layers[0].register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        model = ResumedModel(loaded, anatomy, [ForcedText(one) for one in prompt_ids(loaded)], (), BatchSize(4, CPU))
        assert passes == []
        assert len(dict(model.run(0))) == len(PROMPTS)
        assert passes
    finally:
        handle.remove()
