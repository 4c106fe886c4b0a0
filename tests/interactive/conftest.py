"""A served tiny model with an edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.random_edits import random_edits
from helpers.served_answers import load
from helpers.web_apps import running

from prosafeprune.interactive.openai_app import openai_app
from prosafeprune.jobs.served_model import ServedModel
from prosafeprune.method.plan import Plan
from prosafeprune.model.source import ModelSource
from prosafeprune.serving.engine import Engine
from prosafeprune.serving.served_edit import ServedEdit


@pytest.fixture(scope="module")
def served(checkpoint: Callable[..., Path]) -> Iterator[ServedModel]:
    """A model that answers until the limit, and an edit of two of its layers."""
    folder = checkpoint("llama")
    loaded = load(folder)
    loaded.end_ids = []
    plan = Plan(layers=(0, 2), rank=3, strength=(0.9, 0.4))
    changes = [(one.submodule, one.change(one.submodule.weight())) for one in random_edits(loaded.model, (0, 2), 1.0)]
    edit = ServedEdit.of("pruned", plan, changes, loaded)
    engine = Engine(loaded, [edit])
    yield ServedModel(engine, ModelSource("org/tiny", folder), {"pruned": edit}, "pruned")
    engine.close()


@pytest.fixture(scope="module")
def url(served: ServedModel) -> Iterator[str]:
    """The address of its OpenAI-compatible server."""
    with running(openai_app(served)) as address:
        yield address
