"""Tests of the same work on a GPU and on the CPU; skipped without a GPU.

``PROSAFEPRUNE_GPU_TEST_DEVICE=cpu`` runs them on the CPU twice, which checks the tests themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.tiny_models import make_model, make_tokenizer

from prosafeprune.model.device_placement import choose_device
from prosafeprune.model.loading import LoadedModel

DEVICE = os.environ.get("PROSAFEPRUNE_GPU_TEST_DEVICE", "cuda")
ENDS = [1, *range(5, 30)]
"""Ordinary bytes serve as end tokens, so that rows of a batch end at different times."""


@pytest.fixture(scope="session")
def device() -> str:
    """The device compared to the CPU."""
    if DEVICE.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here (torch.cuda.is_available() is false)")
    return DEVICE


@pytest.fixture
def on_both(device: str) -> Callable[[str], tuple[LoadedModel, LoadedModel]]:
    """Make the same tiny model on the CPU and on the GPU."""

    def make(architecture: str) -> tuple[LoadedModel, LoadedModel]:
        loaded = []
        for name in ("cpu", device):
            chosen = choose_device(name)
            model = make_model(architecture).to(chosen)
            tokenizer = make_tokenizer()
            loaded.append(LoadedModel("tiny", Path(), model, tokenizer, chosen, torch.float32, torch.float32, ENDS))
        return loaded[0], loaded[1]

    return make
