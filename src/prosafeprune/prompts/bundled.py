"""The prompt sets that come with the package, written for it."""

from __future__ import annotations

import json
from importlib import resources
from typing import Literal

from prosafeprune.prompts.prompt_set import Prompt, PromptClass, PromptSet

Split = Literal["calibration", "validation", "test"]


def bundled_prompts(prompt_class: PromptClass | str, split: Split) -> PromptSet:
    """Return one bundled set. The three splits of a class share no prompt, not even a reworded one."""
    prompt_class = PromptClass(prompt_class)
    file = resources.files("prosafeprune.prompts") / "data" / prompt_class.value / f"{split}.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    prompts = tuple(Prompt(row["prompt"], row["category"], line, row["style"]) for line, row in enumerate(rows, 1))
    return PromptSet(prompt_class, f"bundled {split}", prompts)
