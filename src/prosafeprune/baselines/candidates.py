"""Choosing between candidates of a method by their rates on validation prompts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prosafeprune.baselines.method import FitContext
from prosafeprune.generation import Decoding, Generator
from prosafeprune.judges.builtin import BuiltinJudge
from prosafeprune.judges.judging import judge_answers
from prosafeprune.judges.reasoning_text import ends_within_thought
from prosafeprune.judges.verdict import Exchange
from prosafeprune.progress import PartialAnswers, partial_answers
from prosafeprune.prompts import PromptClass

TOKENS = 48
"""Maximum tokens of an answer to a validation prompt."""
PROMPTS = 40
"""Validation prompts of each class, pseudo-harmful and harmful, by default."""


@dataclass(frozen=True)
class Rates:
    """C.R. on pseudo-harmful and S.S. on harmful validation prompts, in percent."""

    compliance: float
    safety: float

    @property
    def tradeoff(self) -> float:
        """T.S., the mean of the two."""
        return (self.compliance + self.safety) / 2

    def describe(self) -> list[float]:
        """Return both, as plain JSON values."""
        return [round(self.compliance, 1), round(self.safety, 1)]


class Validation:
    """Validation prompts on which candidates are compared, judged by the built-in judge.

    That judge is used whatever ``--judge`` is, so that a fit depends on no server and is the same for all judges.
    """

    def __init__(self, context: FitContext, size: int) -> None:
        self.judge, self.reporter = BuiltinJudge(), context.reporter
        classes = (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)
        self.pseudo_harmful, self.harmful = (
            context.validation[prompt_class].sample(size, context.seed).texts for prompt_class in classes
        )
        self.prompts = [*self.pseudo_harmful, *self.harmful]
        self.thoughts = 0
        """How many of the answers judged so far are thoughts that the token limit cut."""

    def rates(self, generator: Generator, progress: PartialAnswers) -> Rates:
        """Return the rates of one candidate, reporting its answers. Raises InputError as the generator does."""
        answers = [""] * len(self.prompts)
        for index, answer in generator.answer(self.prompts, Decoding(max_new_tokens=TOKENS)):
            answers[index] = answer.text
            progress.finish()
        exchanges = [Exchange(prompt, answer) for prompt, answer in zip(self.prompts, answers, strict=True)]
        self.thoughts += sum(map(ends_within_thought, answers))
        classes = [verdict.answer_class for verdict in judge_answers(self.judge, exchanges)]
        split = len(self.pseudo_harmful)
        complied = sum(answer_class.complies for answer_class in classes[:split])
        refused = sum(answer_class.refuses for answer_class in classes[split:])
        return Rates(100 * complied / split, 100 * refused / (len(classes) - split))

    def best(self, candidates: Mapping[str, Callable[[], Generator]], title: str) -> tuple[str, dict[str, Any]]:
        """Return the name of the candidate with the highest T.S., the first of equals, and the rates of all as JSON."""
        found: dict[str, Rates] = {}
        total = len(candidates) * len(self.prompts)
        with self.reporter.stage(title, total) as advance, partial_answers(advance) as progress:
            for name, generator in candidates.items():
                found[name] = self.rates(generator(), progress)
        if 2 * self.thoughts > total:
            self.reporter.warning(
                f"{title}: {self.thoughts} of {total} validation answers are a thought that the limit of {TOKENS} "
                "tokens cut, so their rates say nothing. Choose by --settings, or compare without thinking."
            )
        best = max(found, key=lambda name: found[name].tradeoff)
        return best, {name: rates.describe() for name, rates in found.items()}
