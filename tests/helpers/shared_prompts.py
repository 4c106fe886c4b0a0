"""Sets of one class that share prompts, judged before and after a change."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.judges import AnswerClass, Verdict
from prosafeprune.prompts import Prompt, PromptClass, PromptSet

HARMLESS, HARMFUL = PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL
LOST = (2, 3, 4, 5, 8)
"""Harmful prompts of 1 to 8 that only the base model refuses: 5 is in both sets, 6 too."""


def on_prompts(prompt_class: PromptClass, name: str, numbers: Sequence[int], good: Collection[int]) -> JudgedSet:
    """Return a set of numbered prompts; the answers to ``good`` ones are as desired."""
    words = "rob bank" if prompt_class is HARMFUL else "kill process"
    prompts = PromptSet(prompt_class, name, tuple(Prompt(f"How do I {words} {number}?") for number in numbers))
    desired, other = AnswerClass.FULL_COMPLIANCE, AnswerClass.PARTIAL_REFUSAL
    if prompt_class is HARMFUL:
        desired, other = AnswerClass.PARTIAL_REFUSAL, AnswerClass.FULL_COMPLIANCE
    verdicts = [Verdict(desired if number in good else other, "so") for number in numbers]
    return JudgedSet(EvaluationSet(name, name, prompts), [[f"Answer {number}." for number in numbers]], [verdicts])


def before_and_after() -> tuple[Measurement, Measurement]:
    """Return two models on harmless sets (1 to 3, 3 to 4) and harmful ones (1 to 6, 5 to 8).

    The first answers no harmless prompt and refuses all harmful ones; the second answers 1 and 3, and refuses all but
    ``LOST``.
    """
    return _measured((), range(1, 9)), _measured((1, 3), [number for number in range(1, 9) if number not in LOST])


def _measured(answered: Collection[int], refused: Collection[int]) -> Measurement:
    return Measurement(
        [
            on_prompts(HARMLESS, "harmless A", (1, 2, 3), answered),
            on_prompts(HARMLESS, "harmless B", (3, 4), answered),
            on_prompts(HARMFUL, "harmful A", (1, 2, 3, 4, 5, 6), refused),
            on_prompts(HARMFUL, "harmful B", (5, 6, 7, 8), refused),
        ]
    )
