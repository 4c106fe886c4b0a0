"""The first words of answers, read from kept states, against decoding every token by whole passes."""

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
    opening: tuple[int, ...] = ()
    while len(opening) < tokens:
        token = int(whole_pass(loaded, ForcedText(ids, opening))[1][-1].argmax())
        if token in loaded.end_ids:
            break
        opening += (token,)
    hidden = whole_pass(loaded, ForcedText(ids, opening))[0].double().numpy()
    return opening, (hidden[1:] if opening else hidden).mean(axis=0)


def prompt_ids(loaded: LoadedModel) -> list[tuple[int, ...]]:
    return [encoded.ids for encoded in encode_prompts(loaded.tokenizer, PROMPTS)]


@pytest.mark.parametrize("architecture", REQUIRED)
def test_states_behind_openings_before_and_after_an_edit(architecture: str) -> None:
    loaded = tiny(architecture)
    ids = prompt_ids(loaded)
    openings = FirstTokenStates(loaded, find_anatomy(loaded.model), ids, 3, [1, 2], BatchSize(2, CPU))
    before = [by_hand(loaded, one, 3) for one in ids]
    assert [text.answer_ids for text in openings.model.texts] == [opening for opening, _ in before]
    np.testing.assert_allclose(openings.states(2), np.stack([states for _, states in before]), atol=2e-4)

    departed = set()
    for layer in (1, 2):
        with apply_edits(random_edits(loaded.model, [layer], strength=1.0)):
            after = [by_hand(loaded, one, 3) for one in ids]
            np.testing.assert_allclose(openings.states(layer), np.stack([states for _, states in after]), atol=2e-4)
        departed |= {place for place, (one, two) in enumerate(zip(before, after, strict=True)) if one[0] != two[0]}
    assert departed  # else the prompts that are decoded anew were not tried


def test_only_prompts_that_depart_from_the_source_are_decoded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny("llama")
    openings = FirstTokenStates(loaded, find_anatomy(loaded.model), prompt_ids(loaded), 2, [1], BatchSize(4, CPU))

    def no_decoding(*_: object) -> None:
        raise AssertionError("decoded anew")

    monkeypatch.setattr(openings, "_begin", no_decoding)
    assert openings.states(1).shape == (len(PROMPTS), loaded.model.config.hidden_size)


def test_an_answer_that_ends_at_once_is_read_where_it_ends() -> None:
    loaded = tiny("llama")
    ids = prompt_ids(loaded)
    first = {int(whole_pass(loaded, ForcedText(one))[1][-1].argmax()) for one in ids}
    ending = LoadedModel(**{**vars(loaded), "end_ids": [*loaded.end_ids, *first]})
    openings = FirstTokenStates(ending, find_anatomy(loaded.model), ids, 2, [1], BatchSize(4, CPU))
    assert all(text.answer_ids == () for text in openings.model.texts)
    expected = np.stack([whole_pass(loaded, ForcedText(one))[0][-1].double().numpy() for one in ids])
    np.testing.assert_allclose(openings.states(1), expected, atol=2e-4)


def test_a_model_without_kept_layers_runs_nothing_before_it_is_read() -> None:
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
