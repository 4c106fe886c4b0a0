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

SETTINGS = [
    *("-s", "scan.first_layer=0", "-s", "scan.end_layer=3", "-s", "surgical.divergence=10"),
    *("-s", "prompt.strategy=helpful"),
]


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
    return [*sets, *own, *few, *SETTINGS]


@pytest.fixture
def compare(run: Run, checkpoint: Make, options: list[str], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Compare methods on a tiny model into ``tmp_path / out``; give the record."""

    def call(*more: object, model: Path | None = None) -> dict[str, Any]:
        out, _ = run.ok("compare", model or checkpoint("llama"), "-o", tmp_path / "out", "--json", *options, *more)
        record: dict[str, Any] = json.loads(out)
        return record

    return call
