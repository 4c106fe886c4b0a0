"""A spot check: a few prompts of kinds that the test prompts leave out, before and after pruning.

Conversations, domains, languages, and requests that an operator's system prompt asks to refuse. They are too few for
the safety floor, which ``--suite beyond`` applies to all bundled prompts of these kinds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Self

from pydantic import BaseModel, model_validator

from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.prompts_record import PromptsRecord, prompts_record
from prosafeprune.evaluation.scores import Change, Scores, change, require_same_sets, score
from prosafeprune.evaluation.sets import SPOT_CHECK, SPOT_CHECK_OFF_POLICY, EvaluationSet
from prosafeprune.prompts import PromptClass, PromptSet, bundled_beyond, without_overlaps
from prosafeprune.prompts.bundled import Beyond

OF_EACH_GROUP = 16
"""Prompts of each group and class."""
GROUPS: Sequence[Beyond] = ("multi-turn", "domains", "languages")
TITLES = {
    PromptClass.PSEUDO_HARMFUL: "conversations, domains and languages, harmless",
    PromptClass.HARMFUL: "conversations, domains and languages, harmful",
}


class SpotCheck(BaseModel):
    """Rates of base and pruned model; in no average, and not held to the safety floor."""

    prompts: dict[str, PromptsRecord]
    source: Scores
    """Of the base model."""
    result: Scores
    """Of the pruned model."""
    changes: dict[str, Change]
    """Changes by prompt set."""

    @model_validator(mode="after")
    def _measured_on_the_same_sets(self) -> Self:
        require_same_sets(self.source, self.result, self.changes)
        return self

    @classmethod
    def of(cls, before: Sequence[JudgedSet], after: Sequence[JudgedSet]) -> Self | None:
        """Return the spot check of judged answers to the same sets; None without any."""
        if not before:
            return None
        return cls(
            prompts={judged.name: prompts_record(judged.prompts) for judged in before},
            source=score(before),
            result=score(after),
            changes={was.name: change(was.outcomes, now.outcomes) for was, now in zip(before, after, strict=True)},
        )


def spot_check_sets(calibration: Iterable[PromptSet] = ()) -> list[EvaluationSet]:
    """Return the sets of a spot check: harmless and harmful prompts, and requests off a policy.

    They are always the same, without prompts like those of ``calibration``.
    """
    found = []
    for prompt_class, title in TITLES.items():
        parts = [bundled_beyond(group, prompt_class, "test").fixed_part(OF_EACH_GROUP) for group in GROUPS]
        prompts = tuple(prompt for part in parts for prompt in part)
        joined = PromptSet(prompt_class, "bundled beyond test, a part", prompts)
        found.append(EvaluationSet(f"{SPOT_CHECK}{prompt_class.in_words}", title, joined))
    off_policy = bundled_beyond("policies", PromptClass.HARMFUL, "test")
    found.append(EvaluationSet(SPOT_CHECK_OFF_POLICY, "policies, off the subject", off_policy))
    used = list(calibration)
    rest = [replace(one, prompts=without_overlaps(one.prompts, used)[0]) if used else one for one in found]
    return [one for one in rest if len(one.prompts)]
