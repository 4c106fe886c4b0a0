"""The prompt sets that come with the package, written for it.

Calibration prompts are of two kinds: single ones, and ones in pairs that differ in harm alone. Validation prompts are
all in pairs, so that a search which makes its edits from single ones sees them applied to prompts of another kind.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Literal

from prosafeprune.prompts.prompt_set import Prompt, PromptClass, PromptSet

Split = Literal["calibration", "validation", "test"]


def bundled_prompts(prompt_class: PromptClass | str, split: Split) -> PromptSet:
    """Return one bundled set. The three splits of a class are disjoint: no prompt is in two of them, even reworded."""
    prompt_class = PromptClass(prompt_class)
    return PromptSet(prompt_class, f"bundled {split}", _read(prompt_class, split))


@cache
def _read(prompt_class: PromptClass, split: Split) -> tuple[Prompt, ...]:
    file = resources.files("prosafeprune.prompts") / "data" / prompt_class.value / f"{split}.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return tuple(Prompt(row["prompt"], row["category"], line, row["style"]) for line, row in enumerate(rows, 1))
