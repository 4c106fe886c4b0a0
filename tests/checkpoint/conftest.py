"""Edits of tiny models, made from a few prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.edited_models import PLAN, EditedModel
from helpers.fixture_types import Make

from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import load_model
from prosafeprune.model.source import find_source
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, read_prompts
from prosafeprune.setup.calibrate import calibrate


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> dict[PromptClass, Any]:
    folder = tmp_path_factory.mktemp("prompts")
    sets = {}
    for prompt_class in PromptClass:
        file = folder / f"{prompt_class.value}.txt"
        file.write_text("".join(f"Tell me of {prompt_class.value} thing {i * i} or {i}\n" for i in range(8)))
        sets[prompt_class] = read_prompts(str(file), prompt_class, "prompt")
    return sets


@pytest.fixture
def planned(checkpoint: Make, calibration: dict[PromptClass, Any]) -> Callable[..., EditedModel]:
    def make(architecture: str, dtype: torch.dtype = torch.float32, plan: Plan = PLAN) -> EditedModel:
        folder = checkpoint(architecture, dtype)
        loaded = load_model(folder, str(folder), SilentReporter(), device="cpu")
        anatomy = find_anatomy(loaded.model)
        _, edits = calibrate(loaded, anatomy, plan, calibration, 8, SilentReporter())
        return EditedModel(folder, find_source(str(folder)), loaded, edits)

    return make
