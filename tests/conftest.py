"""Tiny random models of many architectures, a tokenizer with a chat template, and a server, made on the spot.

Fixtures import torch, not this file: the process that hands out files to the others would take seconds to load it.
"""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

from helpers.json_lines import write_prompts

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: each worker has one core

import hypothesis
import pytest
from helpers.fixture_types import Run
from helpers.model_server import ModelServer, model_server
from helpers.small_sets import use_small_sets

from prosafeprune.judges import AnswerClass, Exchange, Verdict
from prosafeprune.prompts import PromptClass, bundled_prompts

if TYPE_CHECKING:
    import torch

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")

pytest_plugins = ["helpers.compare_runs"]

FULL_SETS = ("prompts", "parallel", "slow")
"""Folders of tests that see the complete bundled sets; those in parallel/ start processes of their own."""
WITH_FIGURES = ("analysis", "cli", "parallel", "report", "slow")
"""Folders of tests that see pages with their figures: those about pages, and the commands from end to end."""
SLOW_FILES = ("faults", "parallel", "jobs", "baselines")
"""Folders of the longest files, which are run first: one at the end would leave the other processes without work."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, in a fixed order, which all processes must share."""
    ranks = {name: rank for rank, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: ranks.get(item.path.parent.name, len(ranks)))


@pytest.fixture(autouse=True, scope="module")
def few_objects_to_collect() -> None:
    """Hide everything imported so far from the garbage collector: a collection would visit half a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def small_bundled_sets(request: pytest.FixtureRequest) -> Iterator[None]:
    """Use the shortest prompts of each bundled set."""
    if request.path.parent.name in FULL_SETS:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        use_small_sets(patch)
        yield


@pytest.fixture(autouse=True, scope="module")
def without_llama_cpp(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hide llama.cpp where it is installed: most tests read GGUF files with a tokenizer of their own."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name != "slow":
            patch.setattr("prosafeprune.model.llama_cpp.is_installed", lambda: False)
        yield


@pytest.fixture(autouse=True, scope="module")
def blank_figures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Put an empty image in place of each figure of a page: drawing them is a fifth of the time of a tiny run."""
    if request.path.parent.name in WITH_FIGURES:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prosafeprune.report.page.svg_data_uri", lambda figure: "data:image/svg+xml;base64,")
        patch.setattr("prosafeprune.jobs.prune.share_image", lambda record: b"")
        drawing = MagicMock()
        drawing.subplots.return_value = (MagicMock(), MagicMock())
        patch.setattr("prosafeprune.report.layer_pictures.new_figure", lambda *_, **__: drawing)
        yield


@pytest.fixture(autouse=True, scope="session")
def briefly_measured_speed() -> Iterator[None]:
    """Measure the machine's speed for an instant: every estimate takes it, for 0.3 seconds."""
    from prosafeprune.setup.machine import fastest_seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastest_seconds, "__defaults__", (0.005,))
        yield


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own cache out of fixtures that several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROSAFEPRUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def new_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Paths of caches: a folder of their own, because pytest looks at all others to number a new one."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_cache(new_caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an empty cache, so that no test finds the work of another."""
    folder = next(new_caches)
    folder.mkdir()
    monkeypatch.setenv("PROSAFEPRUNE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give the folder of a tiny checkpoint, made once; tests must not change it."""
    import torch
    from helpers.tiny_models import save_checkpoint

    made: dict[str, Path] = {}

    def make(architecture: str, dtype: torch.dtype = torch.float32, **options: Any) -> Path:
        key = f"{architecture}-{dtype}-{options}"
        if key not in made:
            made[key] = save_checkpoint(tmp_path_factory.mktemp(architecture), architecture, dtype, **options)
        return made[key]

    return make


@pytest.fixture
def prompt_files(tmp_path: Path) -> dict[str, str]:
    """Small calibration files of the three classes, as settings of a recipe."""
    words = {
        "benign": ["bread", "rivers", "chess", "trains", "maps", "paint", "clouds", "soup", "bees", "verbs"],
        "harmful": [
            "scams",
            "stalking",
            "arson",
            "fraud",
            "poisoning",
            "bullying",
            "theft",
            "threats",
            "hate",
            "fakes",
        ],
        "pseudo_harmful": [
            "killing time",
            "shooting stars",
            "bombing a quiz",
            "a crime novel",
            "a knife block",
        ]
        + ["venom research", "war history", "pirate jokes", "lock museums", "a murder of crows"],
    }
    return {
        name: write_prompts(tmp_path / f"{name}.jsonl", (f"Tell me of {topic}" for topic in topics))
        for name, topics in words.items()
    }


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A server that answers, and a client that does not wait long before it asks again."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.005)
    with model_server() as running:
        yield running


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the user's own is sent."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("PROSAFEPRUNE_API_KEY", raising=False)


class ByLength:
    """Calls answers of an even number of characters refusals, others compliance: some of each, and plans move them."""

    name = "by-length"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        kinds = (AnswerClass.FULL_REFUSAL, AnswerClass.FULL_COMPLIANCE)
        return [Verdict(kinds[len(exchange.answer) % 2], "by length") for exchange in exchanges]


@pytest.fixture
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the rigged judge judge, and take a few of the bundled prompts only."""
    for job in ("outlook", "calibrated_plan", "prune", "prune_served"):
        monkeypatch.setattr(f"prosafeprune.jobs.{job}.make_judge", lambda settings, reporter: ByLength())
    monkeypatch.setattr("prosafeprune.judges.judging.broken_reason", lambda prompt, answer: None)

    def fewer(prompt_class: Any, split: Any) -> Any:
        return bundled_prompts(prompt_class, split).sample(12, seed=0)

    def few_to_validate_on(seed: int, *, beyond: bool = False) -> Any:
        return {one: fewer(one, "validation") for one in PromptClass}

    monkeypatch.setattr("prosafeprune.setup.run_prompts.validation_prompts", few_to_validate_on)
    monkeypatch.setattr("prosafeprune.setup.prompt_sets.bundled_prompts", fewer)
    monkeypatch.setattr("prosafeprune.evaluation.sets.bundled_prompts", fewer)


@pytest.fixture
def search_options(prompt_files: dict[str, str]) -> list[object]:
    """A small space and budget, as options of a search."""
    given: dict[str, object] = {"rank": 4, "pooling": "tail", "max-new-tokens": 3, "max-safety-drop": 100}
    given |= {"budget": 4, "confirmations": 2, "device": "cpu"}
    given |= {name.replace("_", "-"): file for name, file in prompt_files.items()}
    return ["--accept-unsafe", "--only-mine", *(text for name, value in given.items() for text in (f"--{name}", value))]
