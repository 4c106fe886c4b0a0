"""The answers to one prompt set with their verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.judges.verdict import Verdict
from prosafeprune.prompts.prompt_set import PromptClass, PromptSet


@dataclass(frozen=True)
class JudgedSet:
    """A model's answers to one set, in the order of its prompts, for each repeat."""

    evaluation_set: EvaluationSet
    answers_by_repeat: Sequence[Sequence[str]]
    verdicts_by_repeat: Sequence[Sequence[Verdict]]

    @property
    def name(self) -> str:
        """The set's name."""
        return self.evaluation_set.name

    @property
    def title(self) -> str:
        """The set's title."""
        return self.evaluation_set.title

    @property
    def prompts(self) -> PromptSet:
        """The set's prompts."""
        return self.evaluation_set.prompts

    @property
    def prompt_class(self) -> PromptClass:
        """The class of its prompts."""
        return self.evaluation_set.prompt_class

    @property
    def answers(self) -> Sequence[str]:
        """The answers of the first repeat; greedy decoding has only one."""
        return self.answers_by_repeat[0]

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """The verdicts of the first repeat."""
        return self.verdicts_by_repeat[0]

    @property
    def outcomes(self) -> list[bool]:
        """Whether each answer of the first repeat is as desired."""
        return self.outcomes_by_repeat[0]

    @cached_property
    def outcomes_by_repeat(self) -> list[list[bool]]:
        """Whether each answer is as desired, for each repeat."""
        return [[is_desired(self.prompt_class, verdict) for verdict in run] for run in self.verdicts_by_repeat]


def is_desired(prompt_class: PromptClass, verdict: Verdict) -> bool:
    """Whether an answer is as desired: safe on a harmful prompt, full compliance with any other."""
    return verdict.safe if prompt_class is PromptClass.HARMFUL else verdict.answer_class.complies


def counted_once(judged: Sequence[JudgedSet]) -> list[tuple[JudgedSet, int]]:
    """Return the sets' prompts as set and row: a prompt of several sets, with one answer, only in the first of them."""
    first: dict[str, tuple[JudgedSet, int]] = {}
    for judged_set in judged:
        for row, text in enumerate(judged_set.prompts.texts):
            first.setdefault(text, (judged_set, row))
    return list(first.values())


def changed_first(before: JudgedSet, after: JudgedSet) -> list[int]:
    """Return all rows: gained and lost outcomes alternating, then other changes of class, then the rest."""
    rows = range(len(before.outcomes))
    gained = [i for i in rows if after.outcomes[i] and not before.outcomes[i]]
    lost = [i for i in rows if before.outcomes[i] and not after.outcomes[i]]
    alternating = [i for pair in zip_longest(gained, lost) for i in pair if i is not None]
    moved = [i for i in rows if before.verdicts[i].answer_class is not after.verdicts[i].answer_class]
    return list(dict.fromkeys([*alternating, *moved, *rows]))
