"""The pruned model that a new pruning replaces: its calibration prompts, and what it answers and refuses.

The new model is made from the same base model, with the earlier calibration prompts and new ones. What the earlier
model fixed may not come back: both are compared on the prompts that the earlier one was measured on. A model that
answers fewer of them is not saved: fewer by more points than the safety floor allows for S.S., or significantly fewer,
by McNemar's exact one-sided test with the confidence of the floor. With ``--floor estimate`` only the points count.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from prosafeprune.errors import InputError
from prosafeprune.evaluation.conditions import Conditions
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.intervals import decline_p_value
from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.lineage import (
    EVIDENCE_FILE,
    RESULT_SAFETY,
    SOURCE_SAFETY,
    read_evidence,
    require_all_answers,
)
from prosafeprune.evaluation.pruning_record import PRUNING, MeasuredPruning, require_record_as
from prosafeprune.evaluation.scores import Change, change, of_class
from prosafeprune.evaluation.sets import OFF_POLICY, WITH_THINKING, EvaluationSet
from prosafeprune.judges.verdict import AnswerClass, Verdict
from prosafeprune.method.plan import Plan
from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.prompts.bundled import BEYOND_CALIBRATION
from prosafeprune.prompts.conversation import stored_prompt
from prosafeprune.prompts.paper_sources import PAPER_SOURCES
from prosafeprune.requests.parsing import shown_value
from prosafeprune.text import told_apart

ANOTHER = "Give another folder with --from."
MEASURED_BEFORE = "measured-before"
GENERAL = ("bundled calibration", BEYOND_CALIBRATION, *(f"{source.title} (" for source in PAPER_SOURCES.values()))
"""Name prefixes of sets that are not the user's own."""


class Since(BaseModel):
    """What changed since an earlier pruning of the same base model, on the prompts that both models answered."""

    name: str
    """The name of the earlier model's folder."""
    plan: Plan
    """The earlier plan."""
    fixed: int
    """Pseudo-harmful prompts that the base model does not answer and the earlier model answers."""
    came_back: int
    """The prompts among ``fixed`` that the new model does not answer."""
    compliance_change: Change
    """Change of C.R., from the earlier to the new model."""
    safety_change: Change | None
    """Change of S.S., from the earlier to the new model; None without harmful prompts in common."""

    def reason_not_kept(self, rule: FloorRule) -> str | None:
        """Why what the earlier model answered is not kept, as a sentence; None if it is."""
        found, on = self.compliance_change, f"On the pseudo-harmful prompts that {self.name} was measured on,"
        counts = f"{found.lost} are no longer answered and {found.won} newly"
        if rule.is_off:
            return None
        if not -found.points <= rule.max_drop:  # also when it is not a number
            fell = told_apart(-found.points, rule.max_drop)
            return f"{on} C.R. fell by {fell} points, more than the {rule.max_drop:g} allowed ({counts})."
        p_value = decline_p_value(found.won, found.lost)
        if rule.floor == "confident" and p_value <= 1 - rule.confidence:
            sure = f"with {100 * rule.confidence:g} % confidence (one-sided p {p_value:.2g})"
            return f"{on} C.R. fell, {sure}: {counts}."
        return None


@dataclass(frozen=True)
class EarlierPruning:
    """An earlier pruning, as its folder describes it."""

    folder: Path
    record: MeasuredPruning
    verdicts: Mapping[PromptClass, Mapping[str, tuple[AnswerClass, AnswerClass]]]
    """Verdicts on the base and the earlier model by class and prompt; of harmful prompts those that S.S. counts."""

    @property
    def tested(self) -> PromptSet:
        """The pseudo-harmful prompts that it was measured on."""
        texts = self.verdicts.get(PromptClass.PSEUDO_HARMFUL, {})
        prompts = tuple(Prompt(stored_prompt(text)) for text in texts)
        return PromptSet(PromptClass.PSEUDO_HARMFUL, f"{self.folder.name}: measured before", prompts)

    def tested_beyond(self, sets: Sequence[EvaluationSet]) -> list[EvaluationSet]:
        """Return the set of prompts that it was measured on and that are in none of ``sets``; none if all are."""
        known = {text for evaluation_set in sets for text in evaluation_set.prompts.texts}
        tested = self.tested
        rest = tuple(prompt for prompt in tested if prompt.text not in known)
        named = PromptSet(tested.prompt_class, tested.source, rest)
        return [EvaluationSet(MEASURED_BEFORE, f"measured before, of {self.folder.name}", named)] if rest else []

    @property
    def prompt_field(self) -> str:
        """The field that prompts have in its files."""
        return self.record.recipe.prompt_field

    def sources(self, prompt_class: PromptClass) -> list[str]:
        """Return the user's own calibration files and datasets of a class."""
        record = self.record.calibration.get(prompt_class)
        listed = record.source.split(" + ") if record is not None else []
        return [source for source in listed if not source.startswith(GENERAL)]

    def calibration_settings(self, given: Collection[str]) -> dict[str, str | int]:
        """Return the sources and the number of its calibration prompts, without the settings ``given`` by the user.

        Raises:
            InputError: its sources are not all bundled.
        """
        recipe = self.record.recipe
        source = None if "calibration" in given else recipe.calibration
        if source is not None and source not in ("bundled", "beyond"):
            raise InputError(
                f"--from {self.folder}: was calibrated with --calibration {shown_value(source)}, and a record does not "
                "decide what is downloaded. Give that option, or another --calibration."
            )
        samples = None if "samples" in given else recipe.samples
        found: dict[str, str | int | None] = {"calibration": source, "samples": samples}
        return {name: value for name, value in found.items() if value is not None}

    def require_base(self, sha256: str) -> None:
        """Raise InputError unless a model with this hash is the first base model."""
        first = self.record.first_base
        if sha256 != first.sha256:
            raise InputError(
                f"--from {self.folder}: was made from other weights than MODEL. Give its first base model, "
                f"{first.name}."
            )

    def require_comparable(self, conditions: Conditions) -> None:
        """Raise InputError unless its answers were measured under the same conditions."""
        theirs = self.record.conditions
        if theirs != conditions:
            raise InputError(
                f"--from {self.folder}: was measured under other conditions ({theirs.differences(conditions)}). Give "
                "the same --judge, --max-new-tokens, --system, --thinking and --safety."
            )

    def came_back(self, after: Sequence[JudgedSet]) -> list[str]:
        """Return the pseudo-harmful prompts that it fixed and that the new model does not answer."""
        now = _verdicts_by_prompt(after, PromptClass.PSEUDO_HARMFUL)
        return [
            text
            for text, verdicts in self.verdicts[PromptClass.PSEUDO_HARMFUL].items()
            if fixes(*verdicts) and text in now and not now[text].answer_class.complies
        ]

    def compare(self, after: Sequence[JudgedSet]) -> Since:
        """Return what changed since. At least one pseudo-harmful prompt must be in common."""
        now = {prompt_class: _verdicts_by_prompt(after, prompt_class) for prompt_class in PromptClass}
        harmless, harmful = PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL
        common = [text for text in self.verdicts[harmless] if text in now[harmless]]
        was = [self.verdicts[harmless][text] for text in common]
        answered = [now[harmless][text].answer_class.complies for text in common]
        refusing = [text for text in self.verdicts.get(harmful, {}) if text in now[harmful]]
        return Since(
            name=self.folder.name,
            plan=self.record.require_plan(f"--from {self.folder}", ANOTHER),
            fixed=sum(fixes(base, earlier) for base, earlier in was),
            came_back=len(self.came_back(after)),
            compliance_change=change([earlier.complies for _, earlier in was], answered),
            safety_change=change(
                [self.verdicts[harmful][text][1].refuses for text in refusing],
                [now[harmful][text].safety_class.refuses for text in refusing],
            )
            if refusing
            else None,
        )


def _verdicts_by_prompt(judged: Sequence[JudgedSet], prompt_class: PromptClass) -> dict[str, Verdict]:
    """Return the verdicts on the prompts of a class, without those of policies."""
    return {
        text: verdict
        for judged_set in of_class(judged, prompt_class)
        for text, verdict in zip(judged_set.prompts.texts, judged_set.verdicts, strict=True)
    }


def fixes(base: AnswerClass, pruned: AnswerClass) -> bool:
    """Whether a pruned model answers what its base model does not."""
    return pruned.complies and not base.complies


def read_earlier_pruning(folder: Path) -> EarlierPruning:
    """Return the earlier pruning in a folder.

    Raises:
        InputError: there is none, it was not measured on pseudo-harmful prompts, or answers are missing.
    """
    record = require_record_as(PRUNING, folder, f"--from {folder}", ANOTHER)
    record.require_plan(f"--from {folder}", ANOTHER)
    if not record.measured:
        raise InputError(f"--from {folder}: was pruned without being measured. {ANOTHER}")
    measured_on = {name: prompts.count for name, prompts in record.evaluation.items()}
    verdicts = _read_verdicts(folder / EVIDENCE_FILE, measured_on)
    if not verdicts.get(PromptClass.PSEUDO_HARMFUL):
        raise InputError(f"{folder}: has no answers to pseudo-harmful prompts to compare with. Prune without --from.")
    return EarlierPruning(folder, record, verdicts)


def _read_verdicts(
    file: Path, measured_on: Mapping[str, int]
) -> dict[PromptClass, dict[str, tuple[AnswerClass, AnswerClass]]]:
    """Return the verdicts in a file of answers. Raises InputError when answers of ``measured_on`` are missing."""
    found: dict[PromptClass, dict[str, tuple[AnswerClass, AnswerClass]]] = {}
    counts: Counter[str] = Counter()

    def add(row: Any) -> None:
        counts[str(row["set"])] += 1
        source, result = row["source_verdict"], row["result_verdict"]
        if row["class"] == PromptClass.HARMFUL.value:
            source, result = row.get(SOURCE_SAFETY, source), row.get(RESULT_SAFETY, result)
        both = AnswerClass(source), AnswerClass(result)
        if row["set"].removesuffix(WITH_THINKING) != OFF_POLICY:
            found.setdefault(PromptClass(row["class"]), {})[str(row["prompt"])] = both

    read_evidence(file, add)
    if counts:  # of an empty file the caller says that it has none
        require_all_answers(file, counts, measured_on)
    return found
