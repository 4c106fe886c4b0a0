"""The main job as tests run it on tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import prosafeprune

SETTINGS: dict[str, Any] = {
    "pooling": "tail",
    "layers": "1-2",
    "rank": 4,
    "strength": 0.8,
    "max_new_tokens": 2,
    "max_safety_drop": 100,
    "accept_unsafe": True,
    "only_mine": True,
    "device": "cpu",
}


def prune(source: str | Path, output: Path | None, files: dict[str, str], **settings: Any) -> prosafeprune.PruneResult:
    return prosafeprune.prune(source, output, progress=False, **{**SETTINGS, **files, **settings})
