"""Requests and contexts of sweeps around one plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from prosafeprune.analysis.analysis_prompts import read_analysis_prompts
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.time_estimate import TIMED_PROMPTS
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.method.plan import Plan
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.analyze import AnalyzeRequest

PLAN = Plan(layers=(1, 2), rank=4, strength=0.8)
PROMPTS = 4
"""Of each class."""
BOTH = 2 * PROMPTS
TIMED = 1 + 2 * TIMED_PROMPTS
"""Answers that measure the model's speed: one to warm up, then the same prompts at two lengths."""


def make_request(model: Path, **settings: Any) -> AnalyzeRequest:
    chosen = {"layers": PLAN.layers, "rank": 4, "strength": 0.8, "samples": 12, "max_new_tokens": 3}
    given = {**chosen, "sweep_samples": PROMPTS, **settings}
    return AnalyzeRequest(model=str(model), **{name: value for name, value in given.items() if value is not None})


def make_context(model: Path, folder: Path, **settings: Any) -> Context:
    request = make_request(model, **settings)
    reporter = SilentReporter()
    return Context(
        request, read_analysis_prompts(request), LocalModel(request.model, request, reporter), folder, reporter
    )


def state(context: Context) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in context.loaded.model.state_dict().items()}
