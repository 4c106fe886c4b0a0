"""The main job as the tests of adapters run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import prosafeprune
from helpers import prune_runs

SETTINGS: dict[str, Any] = {**prune_runs.SETTINGS, "format": "adapter", "layers": "0,2", "strength": (0.8, 0.5)}
MEASURING = {name: SETTINGS[name] for name in ("max_new_tokens", "max_safety_drop", "accept_unsafe", "device")}
"""What ``apply`` is given: no setting is read from the adapter."""


def apply(adapter: Path, base: Path, output: Path, **settings: Any) -> prosafeprune.api.ApplyResult:
    return prosafeprune.apply(adapter, base, output, progress=False, **{**MEASURING, **settings})


def prune(source: Path, output: Path | None, files: dict[str, str], **settings: Any) -> prosafeprune.PruneResult:
    return prosafeprune.prune(source, output, progress=False, **{**SETTINGS, **files, **settings})


def options(files: dict[str, str], tmp_path: Path, **settings: Any) -> Path:
    """Write a recipe file."""
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps({**SETTINGS, **files, **settings}))  # JSON is YAML
    return file
