"""The comparison with an earlier evaluation of the same prompts, prompt by prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel

from prosafeprune.errors import InputError
from prosafeprune.evaluation.base_likelihoods import with_stored_likelihoods
from prosafeprune.evaluation.folder import kept_likelihoods, open_evaluation
from prosafeprune.evaluation.measure import Measurement, gather, is_about
from prosafeprune.evaluation.pruning_record import RecordedModel
from prosafeprune.evaluation.scores import Change, Scores, change, pooled_change
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.files.line_store import Key, LineStore
from prosafeprune.files.resumable_folder import MADE_BY
from prosafeprune.files.text_file import read_json_object
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass
from prosafeprune.text import beginning

ANSWER_SETTINGS = ("max_new_tokens", "temperature", "system", "thinking")
"""What answers of any model depend on, as folders of evaluations name it."""


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
    other_settings: str | None = None
    """Which settings the earlier answers were made with otherwise, in a sentence; None where they are the same."""


@dataclass(frozen=True)
class EarlierEvaluation:
    """An earlier evaluation of the prompts that are measured now."""

    name: str
    measurement: Measurement
    made_by: Mapping[str, Any] = field(default_factory=dict)
    """What its answers depend on."""
    folder: Path | None = None
    """Its folder; None for one that is not read from any."""

    def scored_under(self, base: RecordedModel, companions: str | None, reporter: Reporter) -> Self:
        """Return it with the log-likelihoods under a base model that its folder has, so that word salad is broken.

        In its own record it is, and among the answers that are compared with these. The base model's own answers have
        none, since they are likely to it.

        Args:
            companions: hash of the files next to the base model's weights.

        Raises:
            InputError: the file of log-likelihoods is damaged.
        """
        if self.folder is None:
            return self
        scores = kept_likelihoods(self.folder, base.sha256, companions)
        if not scores.rows and self.made_by.get("model") != base.sha256:
            how = f"without --base {base.name}"
            if scores.left_out:
                how = f"while {base.name} had another chat template, tokenizer or other files next to its weights"
            reporter.warning(
                f"--against: {self.name} was measured {how}, so word salad among its answers is "
                "found by their text alone. To compare alike, evaluate it with the same --base."
            )
        return replace(self, measurement=with_stored_likelihoods(self.measurement, scores))

    def other_settings(self, made_by: Mapping[str, Any]) -> str | None:
        """Return in a sentence which settings of answers differ from those of ``made_by``; None if none does."""
        shown = [
            f"{name.replace('_', ' ')} {beginning(repr(self.made_by[name]), 80)} there, "
            f"{beginning(repr(made_by[name]), 80)} here"
            for name in ANSWER_SETTINGS
            if name in self.made_by and name in made_by and self.made_by[name] != made_by[name]
        ]
        if not shown:
            return None
        differing = "; ".join(shown)
        return f"Answers of {self.name} were made with other settings ({differing}), which may cause the changes."

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
        missing = sum(not _is_judged((0, text), answers, verdicts) for text in evaluation_set.prompts.texts)
        if missing:
            raise InputError(
                f"{path}: has no verdict on {missing} of the {len(evaluation_set.prompts)} prompts of "
                f"{evaluation_set.title}. Compare evaluations of the same benchmarks, samples and seed."
            )
    made_by = read_json_object(path / MADE_BY, "evaluation") if (path / MADE_BY).exists() else {}
    return EarlierEvaluation(path.name, gather(answers, verdicts, sets, 1), made_by, path)


def _is_judged(key: Key, answers: LineStore, verdicts: LineStore) -> bool:
    return key in answers and is_about(verdicts, key, str(answers[key]["completion"]))
