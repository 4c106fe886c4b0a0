"""The comparison with an earlier evaluation of the same prompts, prompt by prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from prosafeprune.errors import InputError
from prosafeprune.evaluation.folder import open_evaluation
from prosafeprune.evaluation.measure import Measurement, gather
from prosafeprune.evaluation.scores import Change, Scores, change, pooled_change
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.prompts import PromptClass


class EvaluationComparison(BaseModel):
    """The scores of an earlier evaluation and the changes since; with repeats, the first of each counts."""

    name: str
    """The name of the earlier evaluation's folder."""
    scores: Scores
    changes: dict[str, Change]
    """The change on each prompt set, by its name."""
    compliance_change: Change | None
    """The change over all pseudo-harmful prompts; None without such prompts."""
    safety_change: Change | None
    """The change over all harmful prompts; None without such prompts."""


@dataclass(frozen=True)
class EarlierEvaluation:
    """An earlier evaluation of the prompts that are measured now."""

    name: str
    measurement: Measurement

    def compare(self, now: Measurement) -> EvaluationComparison:
        """Return the changes since."""
        before = self.measurement

        def pooled(prompt_class: PromptClass) -> Change | None:
            return pooled_change(before.sets, now.sets, prompt_class) if now.of(prompt_class) else None

        return EvaluationComparison(
            name=self.name,
            scores=before.scores,
            changes={
                earlier.name: change(earlier.outcomes, later.outcomes)
                for earlier, later in zip(before.sets, now.sets, strict=True)
            },
            compliance_change=pooled(PromptClass.PSEUDO_HARMFUL),
            safety_change=pooled(PromptClass.HARMFUL),
        )


def read_earlier(path: Path, judge: str, sets: Sequence[EvaluationSet]) -> EarlierEvaluation:
    """Read the answers and verdicts that an earlier evaluation has for these sets.

    Raises:
        InputError: no such evaluation, judged by another judge, or measured on other prompts.
    """
    answers, verdicts = open_evaluation(path, judge)
    for evaluation_set in sets:
        missing = sum((0, text) not in verdicts or (0, text) not in answers for text in evaluation_set.prompts.texts)
        if missing:
            raise InputError(
                f"{path}: has no verdict on {missing} of the {len(evaluation_set.prompts)} prompts of "
                f"{evaluation_set.title}. Compare evaluations of the same benchmarks, samples and seed."
            )
    return EarlierEvaluation(path.name, gather(answers, verdicts, sets, 1))
