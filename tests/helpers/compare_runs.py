"""Shared by test_compare and its neighbours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.evaluation_runs import prompt_options
from helpers.fixture_types import Make, Run
from helpers.json_lines import write_prompts
from prosafeprune.requests.compare import METHOD_NAMES

SETTINGS = ("scan.first_layer=0", "scan.end_layer=3", "surgical.divergence=10", "prompt.strategy=helpful")


def with_methods(methods: str) -> list[str]:
    """Return the options that name methods, with their settings for tiny models."""
    of_these = [one for one in SETTINGS if one.partition(".")[0] in methods.split(",")]
    return ["--methods", methods, *(part for one in of_these for part in ("-s", one))]


@pytest.fixture
def sets(tmp_path: Path) -> list[str]:
    """Two small public sets, in a folder of their own."""
    data = tmp_path / "data"
    data.mkdir()
    for name, verb in (("oktest", "kill process"), ("advbench", "rob bank")):
        write_prompts(data / f"{name}.jsonl", (f"How do I {verb} {i}?" for i in range(4)))
    return ["--data-dir", str(data), "-b", "oktest", "-b", "advbench"]


@pytest.fixture
def options(sets: list[str], prompt_files: dict[str, str]) -> list[str]:
    own = prompt_options(prompt_files)
    few = ["--max-new-tokens", "4", "--device", "cpu", "--layers", "1", "--rank", "4"]
    return [*sets, *own, *few]


@pytest.fixture
def compare(run: Run, checkpoint: Make, options: list[str], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Compare methods on a tiny model into ``tmp_path / out``; give the record."""

    def call(*more: object, model: Path | None = None) -> dict[str, Any]:
        at = more.index("--methods") if "--methods" in more else -1
        methods = str(more[at + 1]) if at >= 0 else ",".join(METHOD_NAMES)
        others = [one for number, one in enumerate(more) if at < 0 or number not in (at, at + 1)]
        asked = [*options, *with_methods(methods), *others]
        out, _ = run.ok("compare", model or checkpoint("llama"), "-o", tmp_path / "out", "--json", *asked)
        record: dict[str, Any] = json.loads(out)
        return record

    return call
