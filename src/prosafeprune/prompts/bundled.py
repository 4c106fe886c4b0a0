"""The prompt sets that come with the package, written for it.

Calibration prompts are of three kinds: neatly written ones, ones in pairs that differ in harm alone, and ones in the
styles of public benchmarks and logs (``wild-``). Harmful and pseudo-harmful validation prompts are of the last two.

Further sets go beyond a single English turn: conversations, operators' policies, domains, languages. Those of domains
have no calibration prompts; a search validates on all four.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from prosafeprune.errors import InputError
from prosafeprune.prompts.prompt_set import Prompt, PromptClass, PromptSet, prompt_class_of
from prosafeprune.prompts.sources import prompt_of_row

Split = Literal["calibration", "validation", "test"]
Beyond = Literal["multi-turn", "policies", "domains", "languages"]
"""Groups of the prompts beyond a single English turn."""
CALIBRATED: Sequence[Beyond] = ("languages", "multi-turn", "policies")
"""The groups that have calibration prompts."""
BEYOND_CALIBRATION = "bundled beyond calibration"
"""Name of those prompts in records."""
BEYOND_VALIDATION = "bundled beyond validation"
VALIDATION = 240
"""Maximum validation prompts of each class that a search uses."""
BEYOND_SHARE = 0.25
"""Share of these beyond a single English turn, where such prompts are calibrated on."""
HARMLESS_AND_HARMFUL = {
    PromptClass.PSEUDO_HARMFUL: (PromptClass.PSEUDO_HARMFUL, PromptClass.BENIGN),
    PromptClass.HARMFUL: (PromptClass.HARMFUL,),
}
"""Classes of the prompts beyond a single English turn that count as these in calibration and validation: what a policy
asks to answer is benign there, what it asks to refuse harmful."""


def bundled_prompts(prompt_class: PromptClass | str, split: Split) -> PromptSet:
    """Return one bundled set. The three splits of a class are disjoint: no prompt is in two of them, even reworded.

    Raises:
        InputError: there is no such class or split.
    """
    prompt_class = prompt_class_of(prompt_class)
    if split not in get_args(Split):
        raise InputError(f"{split!r}: is no split. Give one of {', '.join(get_args(Split))}.")
    return PromptSet(prompt_class, f"bundled {split}", _read(prompt_class, split))


def validation_prompts(seed: int = 0, *, beyond: bool = False) -> Mapping[PromptClass, PromptSet]:
    """Return validation prompts of all classes, drawn from the bundled ones: as many of one kind as of the other.

    With ``beyond``, a quarter of the harmful and of the pseudo-harmful ones are beyond a single English turn, as many
    of each group.
    """
    drawn = {name: bundled_prompts(name, "validation").spread(VALIDATION, seed) for name in PromptClass}
    return {name: _with_beyond(prompts, seed) for name, prompts in drawn.items()} if beyond else drawn


def _with_beyond(prompts: PromptSet, seed: int) -> PromptSet:
    """Return as many validation prompts of a class, a quarter of them beyond a single English turn; benign as given."""
    classes = HARMLESS_AND_HARMFUL.get(prompts.prompt_class, ())
    if not classes:
        return prompts
    groups = get_args(Beyond)
    of_each = max(1, int(BEYOND_SHARE * len(prompts)) // len(groups))
    further = [
        PromptSet(prompts.prompt_class, "", _of_group(group, "validation", classes)).spread(of_each, seed)
        for group in groups
    ]
    rest = prompts.spread(len(prompts) - sum(map(len, further)), seed)
    joined = (*rest, *(prompt for drawn in further for prompt in drawn))
    return PromptSet(prompts.prompt_class, f"{prompts.source} + {BEYOND_VALIDATION}", joined)


def bundled_beyond(group: Beyond, prompt_class: PromptClass | str, split: Split) -> PromptSet:
    """Return the prompts of one class beyond a single English turn, filed under domain, language or policy.

    Under ``policies`` a system prompt asks to refuse all that is off its subject: the benign prompts are on it, the
    harmful ones, harmless but for the policy, are off it. The two splits are disjoint, policies included.
    """
    prompt_class = prompt_class_of(prompt_class)
    prompts = tuple(prompt for name, prompt in _read_beyond(group, split) if name is prompt_class)
    return PromptSet(prompt_class, f"bundled {group} {split}", prompts)


def calibration_beyond(prompt_class: PromptClass) -> PromptSet:
    """Return the harmful or pseudo-harmful calibration prompts beyond a single English turn; no others are bundled.

    What a policy asks to answer and to refuse is calibrated on like pseudo-harmful and harmful prompts. The group is
    each prompt's style, so that a part of them (:meth:`PromptSet.spread`) has the same share of each.
    """
    classes = HARMLESS_AND_HARMFUL.get(prompt_class, ())
    prompts = tuple(
        replace(prompt, style=group) for group in CALIBRATED for prompt in _of_group(group, "calibration", classes)
    )
    return PromptSet(prompt_class, BEYOND_CALIBRATION, prompts)


def _of_group(group: Beyond, split: Split, classes: Sequence[PromptClass]) -> tuple[Prompt, ...]:
    """Return a group's prompts of these classes, whose style is the group and the domain, language or policy."""
    return tuple(
        replace(prompt, style=f"{group} {prompt.category}")
        for name, prompt in _read_beyond(group, split)
        if name in classes
    )


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
