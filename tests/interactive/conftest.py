"""A served tiny model with an edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.pages import EVIL, measurement, record, search_record
from helpers.random_edits import random_edits
from helpers.served_answers import load
from helpers.web_apps import TOKEN, running

from prosafeprune.interactive.openai_app import openai_app
from prosafeprune.interactive.playground_app import PAGE, Playground
from prosafeprune.jobs.served_model import ServedModel
from prosafeprune.judges import AnswerClass, Exchange, Verdict
from prosafeprune.method.plan import Plan
from prosafeprune.model.source import ModelSource
from prosafeprune.requests.chat import PlaygroundRequest
from prosafeprune.serving.engine import Engine
from prosafeprune.serving.served_edit import ServedEdit


@pytest.fixture(scope="module")
def served(checkpoint: Callable[..., Path]) -> Iterator[ServedModel]:
    """A model that answers until the limit, and an edit of two of its layers."""
    folder = checkpoint("llama")
    loaded = load(folder)
    loaded.end_ids = []
    plan = Plan(layers=(0, 2), rank=3, strength=(0.9, 0.4))
    changes = [
        (edit.submodule, edit.change(edit.submodule.weight())) for edit in random_edits(loaded.model, (0, 2), 1.0)
    ]
    edits = {name: ServedEdit.of(name, plan, changes, loaded) for name in ("pruned", "plan-2")}
    engine = Engine(loaded, list(edits.values()))
    yield ServedModel(engine, ModelSource("org/tiny", folder), edits, "pruned")
    engine.close()


@pytest.fixture(scope="module")
def url(served: ServedModel) -> Iterator[str]:
    """The address of its OpenAI-compatible server."""
    with running(openai_app(served)) as address:
        yield address


class ByRefusal:
    """Calls an answer a refusal when its prompt asks to be refused."""

    name = "by-refusal"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        kinds = {True: AnswerClass.FULL_REFUSAL, False: AnswerClass.FULL_COMPLIANCE}
        return [Verdict(kinds["refuse" in exchange.prompt], EVIL) for exchange in exchanges]


@pytest.fixture
def playground(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[Playground, str]]:
    """A playground of that model with a record and a search, started in an empty folder, and its address."""
    monkeypatch.setattr("prosafeprune.judges.judging.broken_reason", lambda prompt, answer: None)
    monkeypatch.chdir(tmp_path)
    before, after = measurement(50, 90), measurement(70, 89)
    known = replace(
        served, record=record(before, after, served.edits["pruned"].plan), search=search_record(), pruned=tmp_path
    )
    made = Playground(known, PlaygroundRequest(model="org/tiny"), ByRefusal())
    with running(made.app(), TOKEN, PAGE) as address:
        yield made, address
    made.saver.close()
