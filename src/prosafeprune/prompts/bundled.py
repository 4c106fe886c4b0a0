"""The prompt sets that come with the package, written for it.

Calibration prompts are of three kinds: neatly written ones, ones in pairs that differ in harm alone, and ones in the
styles of public benchmarks and logs (``wild-``). Harmful and pseudo-harmful validation prompts are of the last two.

Further sets go beyond a single English turn: conversations, operators' policies, domains, languages. Those of domains
have no calibration prompts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any, Literal

from prosafeprune.prompts.prompt_set import Prompt, PromptClass, PromptSet
from prosafeprune.prompts.sources import prompt_of_row

Split = Literal["calibration", "validation", "test"]
Beyond = Literal["multi-turn", "policies", "domains", "languages"]
"""Groups of the prompts beyond a single English turn."""
CALIBRATED: Sequence[Beyond] = ("languages", "multi-turn", "policies")
"""The groups that have calibration prompts."""
BEYOND_CALIBRATION = "bundled beyond calibration"
"""Name of those prompts in records."""
VALIDATION = 240
"""Maximum validation prompts of each class that a search uses."""


def bundled_prompts(prompt_class: PromptClass | str, split: Split) -> PromptSet:
    """Return one bundled set. The three splits of a class are disjoint: no prompt is in two of them, even reworded."""
    prompt_class = PromptClass(prompt_class)
    return PromptSet(prompt_class, f"bundled {split}", _read(prompt_class, split))


def validation_prompts(seed: int = 0) -> Mapping[PromptClass, PromptSet]:
    """Return validation prompts of all classes, drawn from the bundled ones: as many of one kind as of the other."""
    return {name: bundled_prompts(name, "validation").spread(VALIDATION, seed) for name in PromptClass}


def bundled_beyond(group: Beyond, prompt_class: PromptClass | str, split: Split) -> PromptSet:
    """Return the prompts of one class beyond a single English turn, filed under domain, language or policy.

    Under ``policies`` a system prompt asks to refuse all that is off its subject: the benign prompts are on it, the
    harmful ones, harmless but for the policy, are off it. The two splits are disjoint, policies included.
    """
    prompt_class = PromptClass(prompt_class)
    prompts = tuple(prompt for name, prompt in _read_beyond(group, split) if name is prompt_class)
    return PromptSet(prompt_class, f"bundled {group} {split}", prompts)


def calibration_beyond(prompt_class: PromptClass) -> PromptSet:
    """Return the harmful or pseudo-harmful calibration prompts beyond a single English turn; no others are bundled.

    What a policy asks to answer and to refuse is calibrated on like pseudo-harmful and harmful prompts. The group is
    each prompt's style, so that a part of them (:meth:`PromptSet.spread`) has the same share of each.
    """
    classes = {PromptClass.HARMFUL: [prompt_class], PromptClass.PSEUDO_HARMFUL: [prompt_class, PromptClass.BENIGN]}
    prompts = tuple(
        replace(prompt, style=group)
        for group in CALIBRATED
        for name, prompt in _read_beyond(group, "calibration")
        if name in classes.get(prompt_class, ())
    )
    return PromptSet(prompt_class, BEYOND_CALIBRATION, prompts)


@cache
def _read_beyond(group: Beyond, split: str) -> tuple[tuple[PromptClass, Prompt], ...]:
    found = []
    for line, row in enumerate(_rows(f"beyond/{group}", split), 1):
        prompt = Prompt(prompt_of_row(row, ["prompt"], f"{group} {split}, line {line}"), row["category"], line)
        found.append((PromptClass(row["class"]), prompt))
    return tuple(found)


@cache
def _read(prompt_class: PromptClass, split: Split) -> tuple[Prompt, ...]:
    rows = _rows(prompt_class.value, split)
    return tuple(Prompt(row["prompt"], row["category"], line, row["style"]) for line, row in enumerate(rows, 1))


def _rows(folder: str, split: str) -> list[dict[str, Any]]:
    file = resources.files("prosafeprune.prompts") / "data" / folder / f"{split}.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
