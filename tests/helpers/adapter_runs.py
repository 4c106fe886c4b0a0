"""The main job as the tests of adapters run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import prosafeprune
from helpers import prune_runs
from helpers.json_lines import write_prompts
from helpers.tiny_models import save_checkpoint

SETTINGS: dict[str, Any] = {**prune_runs.SETTINGS, "format": "adapter", "layers": "0,2", "strength": (0.8, 0.5)}
MEASURING = {name: SETTINGS[name] for name in ("max_new_tokens", "max_safety_drop", "accept_unsafe", "device")}
"""What ``apply`` is given: no setting is read from the adapter."""


def apply(adapter: Path, base: Path, output: Path, **settings: Any) -> prosafeprune.api.ApplyResult:
    return prosafeprune.apply(adapter, base, output, progress=False, **{**MEASURING, **settings})


def prune(source: Path, output: Path | None, files: dict[str, str], **settings: Any) -> prosafeprune.PruneResult:
    return prosafeprune.prune(source, output, progress=False, **{**SETTINGS, **files, **settings})


def base_and_adapter(place: Path, **settings: Any) -> tuple[Path, Path]:
    """Save a model in ``place`` and an adapter that prunes it."""
    base = save_checkpoint(place / "base", "llama")
    files = {
        name: write_prompts(place / f"{name}.jsonl", (f"Tell me of {name} thing {i * i}" for i in range(8)))
        for name in ("benign", "harmful", "pseudo_harmful")
    }
    prune(base, place / "adapter", files, **settings)
    return base, place / "adapter"


def options(files: dict[str, str], tmp_path: Path, **settings: Any) -> Path:
    """Write a recipe file."""
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps({**SETTINGS, **files, **settings}))  # JSON is YAML
    return file
