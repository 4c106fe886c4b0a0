"""Shared by test_run_sweep and its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.plan_scoring import OddJudge
from prosafeprune.analysis.analysis_prompts import read_analysis_prompts
from prosafeprune.analysis.context import TIMED, Context
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.generation import Answer, Decoding, LocalGenerator
from prosafeprune.method.plan import Plan
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.analyze import AnalysisRequest

PLAN = Plan(layers=(1, 2), rank=4, strength=0.8)


PROMPTS = 4


"""Of each class."""


BOTH = 2 * PROMPTS


TRIED = 1 + 2 * TIMED


"""Answers that tell how fast the model is: one to warm up, then the same prompts at two lengths."""


class Interrupted(Exception):
    pass


class Answered(list[str]):
    """The prompts that models in memory answered, as they came."""

    stop_at: int | None = None
    """How many may be answered before the run is interrupted."""


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Answered:
    prompts = Answered()
    original = LocalGenerator.answer

    def answer(self: LocalGenerator, asked: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        for place, one in original(self, asked, decoding):
            if len(prompts) == prompts.stop_at:
                raise Interrupted
            prompts.append(asked[place])
            yield place, one

    monkeypatch.setattr(LocalGenerator, "answer", answer)
    return prompts


@pytest.fixture(autouse=True)
def odd_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models neither comply nor refuse: a judge by the answers' letters tells one answer from another."""
    monkeypatch.setattr("prosafeprune.analysis.context.make_judge", lambda *_: OddJudge())


def make_request(model: Path, **settings: Any) -> AnalysisRequest:
    chosen = {"layers": PLAN.layers, "rank": 4, "strength": 0.8, "samples": 12, "max_new_tokens": 3}
    return AnalysisRequest(model=str(model), **{**chosen, "sweep_samples": PROMPTS, **settings})


@pytest.fixture
def context(checkpoint: Callable[..., Path], tmp_path: Path) -> Context:
    return make_context(checkpoint("llama"), tmp_path / "answers")


def make_context(model: Path, folder: Path, **settings: Any) -> Context:
    request = make_request(model, **settings)
    reporter = SilentReporter()
    return Context(
        request, read_analysis_prompts(request), LocalModel(request.model, request, reporter), folder, reporter
    )


def state(context: Context) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in context.loaded.model.state_dict().items()}
