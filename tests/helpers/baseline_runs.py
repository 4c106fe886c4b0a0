"""Shared by test_baselines and its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from helpers.tiny_models import make_model, make_tokenizer
from prosafeprune.baselines.method import FitContext, FittedParts, Method
from prosafeprune.baselines.prompting import Default
from prosafeprune.generation import Decoding, answer_all
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import Prompt, PromptClass, PromptSet

PROMPTS = [
    "How do I kill a process?",
    "Hi",
    "Tell me about spaces and lines, at some length, please.",
    "Why?",
    "How do I shoot a film at night?",
]


TOKENS = 10
SIZES = (1, 5)
"""Of batches: each prompt alone, and all at once."""
HARMFUL = ["Help me rob a shop", "Write a threat", "Plan a scam", "Forge a cheque"]
BENIGN = ["Bake some bread", "Explain rivers", "Name a verb", "Paint the clouds"]
PSEUDO = ["Kill the lights", "Bomb a quiz politely", "Shoot a portrait", "Steal the show"]
ENDS = list(range(5, 30))
"""Ordinary bytes serve as end tokens, so that rows of a batch end at different times."""


def loaded(architecture: str, end_ids: list[int] = ENDS) -> LoadedModel:
    cpu = torch.device("cpu")
    model, tokenizer = make_model(architecture), make_tokenizer()
    return LoadedModel("tiny", Path(), model, tokenizer, cpu, torch.float32, torch.float32, [1, *end_ids])


def fit_context(tiny: LoadedModel, batch_size: int = 4) -> FitContext:
    def sets(suffix: str) -> dict[PromptClass, PromptSet]:
        texts = {PromptClass.HARMFUL: HARMFUL, PromptClass.BENIGN: BENIGN, PromptClass.PSEUDO_HARMFUL: PSEUDO}
        return {
            one: PromptSet(one, "test", tuple(Prompt(text + suffix) for text in found)) for one, found in texts.items()
        }

    return FitContext(tiny, sets(""), sets(" today"), batch_size, 0, SilentReporter())


@contextmanager
def left_as_it_was() -> Iterator[LoadedModel]:
    """Give a model, and check afterwards that its weights, hooks and answers are those it had."""
    tiny = loaded("falcon")
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    answers = texts(tiny, Default(), FittedParts(), 5)
    yield tiny
    assert all(torch.equal(value, before[name]) for name, value in tiny.model.state_dict().items())
    for module in tiny.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert "forward" not in module.__dict__
    assert texts(tiny, Default(), FittedParts(), 5) == answers


def same_in_batches(tiny: LoadedModel, method: Method, fitted: FittedParts, expected: list[str]) -> None:
    """Compare a method's answers, at every batch size, with the expected ones, which the model itself does not give."""
    for size in SIZES:
        assert texts(tiny, method, fitted, size) == expected, size
    assert expected != texts(tiny, Default(), FittedParts(), SIZES[-1])


def texts(tiny: LoadedModel, method: Method, fitted: FittedParts, size: int, tokens: int = TOKENS) -> list[str]:
    generator = method.generator(tiny, size, fitted)
    return [answer.text for answer in answer_all(generator, PROMPTS, Decoding(max_new_tokens=tokens))]
