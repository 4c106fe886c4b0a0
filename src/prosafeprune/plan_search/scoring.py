"""Plans scored by short answers: a plan's answers to some validation prompts, cut off where most verdicts are known.

Verdicts on answers of 20 tokens agree with those on longer ones for some 95 % of answers, and what remains is much the
same for every plan, so a plan is scored by the change from the base model's verdicts on equally short answers
(docs/method.md). The most promising plans are then measured on other validation prompts, with longer answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prosafeprune.editing.edits import Edit, apply_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.measure import Measurement, collect_answers, collect_verdicts
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.files.line_store import LineStore
from prosafeprune.generation import Decoding
from prosafeprune.generation.local import local_generator
from prosafeprune.judges import Judge
from prosafeprune.judges.base_model_likelihood import JudgeWithBaseModel
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.plan_search.benign_kl import BenignKl
from prosafeprune.plan_search.scored_plan import ScoredPlan
from prosafeprune.progress import Reporter, SilentReporter
from prosafeprune.prompts import PromptClass, PromptSet
from prosafeprune.requests.search import SHORT_ANSWER

BENIGN_PROMPTS = 16
BENIGN_TOKENS = 4
SCORED_OF_CHUNK = 8
"""Number of answers of each judged chunk that are checked for word salad first."""
JUDGED = (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)


@dataclass(frozen=True)
class ShortAnswers:
    """What a plan is scored by, before it is judged."""

    answers: LineStore
    divergence: float
    """Mean per-token KL from the base model along its benign answers, nats."""


@dataclass(frozen=True)
class ValidationSettings:
    """What plans are scored and measured on, and how their answers are generated."""

    max_new_tokens: int
    """Maximum tokens of the answers that :meth:`PlanScorer.measure` judges."""
    prompts: Mapping[PromptClass, PromptSet]
    """Validation prompts of the three classes."""
    confirmation: Mapping[PromptClass, PromptSet] | None = None
    """Prompts that :meth:`PlanScorer.measure` uses; None: those that plans are scored by."""
    short_answer: int = SHORT_ANSWER
    """Maximum tokens of the answers that plans are scored by; no more than ``max_new_tokens``."""
    batch_size: int | Literal["auto"] = "auto"
    """How many prompts run at a time."""


@dataclass(frozen=True)
class BaseMeasurements:
    """What was measured of the base model."""

    short: Measurement
    """Measurement of its short answers to the prompts that plans are scored by."""
    confirmed: Measurement
    """Measurement of its answers to the confirmation prompts."""


class PlanScorer:
    """Scores plans for one model on fixed validation prompts."""

    def __init__(
        self,
        loaded: LoadedModel,
        anatomy: Anatomy,
        layers: Sequence[int],
        judge: Judge | None,
        validation: ValidationSettings,
        reporter: Reporter | None = None,
        base: BaseMeasurements | None = None,
    ) -> None:
        """Measure the base model.

        Args:
            loaded: the model with its base weights.
            anatomy: its submodules.
            layers: the layers that plans may prune.
            judge: judges the answers; None in workers, whose answers are judged elsewhere.
            validation: its prompts, and how they are answered.
            reporter: shows progress.
            base: earlier measurements of the base model on the same prompts.

        Raises:
            InputError: a class has no prompts, or as the generator, the judge and the passes do.
        """
        self.loaded, self.validation = loaded, validation
        self.decoding = Decoding(max_new_tokens=validation.max_new_tokens)
        self.short = Decoding(max_new_tokens=min(validation.short_answer, validation.max_new_tokens))
        prompts, confirmation, batch_size = validation.prompts, validation.confirmation, validation.batch_size
        self.judge = None
        if judge is not None:
            self.judge = JudgeWithBaseModel(judge, loaded, batch_size, sample=SCORED_OF_CHUNK)
        self.generator = local_generator(loaded, batch_size)
        self.reporter = reporter or SilentReporter()
        _require_prompts(prompts)
        self.sets = _judged_sets(prompts)
        self.confirmation_sets = self.sets if confirmation is None else _judged_sets(confirmation)
        self.base = base or BaseMeasurements(
            self._measure_base(self.sets, self.short), self._measure_base(self.confirmation_sets, self.decoding)
        )
        size = BatchSize(batch_size, loaded.device)
        benign = prompts[PromptClass.BENIGN].sample(BENIGN_PROMPTS, seed=0).texts
        with self.reporter.stage("Benign answers of the base model", len(benign)) as advance:
            self.benign_kl = BenignKl(loaded, anatomy, layers, benign, BENIGN_TOKENS, size, advance)

    def short_answers(self, edits: Sequence[Edit]) -> ShortAnswers:
        """Return what :meth:`scored` judges; the model is left unchanged.

        Raises:
            InputError: as the generator does, or the edited model's output is not finite.
        """
        with apply_edits(edits):
            divergence = self.benign_kl.mean(min((edit.submodule.layer for edit in edits), default=0))
            return ShortAnswers(self._answers(self.sets, "", self.short), divergence)

    def scored(self, plan: Plan, found: ShortAnswers) -> ScoredPlan:
        """Return a plan with an estimate of what :meth:`measure` would find.

        Its rates are the base model's on the confirmation prompts, shifted by the change in the short answers. Word
        salad is left to the benign KL and to :meth:`measure`. Raises InputError as the judge does.
        """
        if self.judge is None:
            raise TypeError("this scorer has no judge")
        judged = collect_verdicts(LineStore(), found.answers, self.judge.wrapped, self.sets, 1, SilentReporter())
        before, after, base = self.base.short.scores, judged.scores, self.base.confirmed.scores
        return ScoredPlan(
            plan=plan,
            compliance_rate=_shifted(base.compliance_rate, before.compliance_rate, after.compliance_rate),
            safety_score=_shifted(base.safety_score, before.safety_score, after.safety_score),
            divergence=found.divergence,
        )

    def measure(self, edits: Sequence[Edit]) -> Measurement:
        """Measure a plan's edits on the confirmation prompts.

        Raises:
            InputError: as the generator and the judge do.
        """
        return self.judged(self.answers(edits))

    def answers(self, edits: Sequence[Edit]) -> LineStore:
        """Return the answers that :meth:`measure` judges. Raises InputError as the generator does."""
        with apply_edits(edits):
            return self._answers(self.confirmation_sets, "Answers to validation prompts", self.decoding)

    def judged(self, answers: LineStore) -> Measurement:
        """Return such answers with the judge's verdicts. Raises InputError as the judge does."""
        if self.judge is None:
            raise TypeError("this scorer has no judge")
        return self._judged(answers, self.confirmation_sets, self.judge)

    def _measure_base(self, sets: Sequence[EvaluationSet], decoding: Decoding) -> Measurement:
        # Its own answers are likely to the base model whatever they say, so their likelihood is not asked for.
        if self.judge is None:
            raise TypeError("this scorer has no judge")
        return self._judged(
            self._answers(sets, "Validation answers of the base model", decoding), sets, self.judge.wrapped
        )

    def _answers(self, sets: Sequence[EvaluationSet], title: str, decoding: Decoding) -> LineStore:
        answers = LineStore()
        reporter = self.reporter if title else SilentReporter()
        collect_answers(answers, lambda: self.generator, sets, decoding, 1, reporter, title)
        return answers

    def _judged(self, answers: LineStore, sets: Sequence[EvaluationSet], judge: Judge) -> Measurement:
        return collect_verdicts(LineStore(), answers, judge, sets, 1, self.reporter)


def _judged_sets(prompts: Mapping[PromptClass, PromptSet]) -> list[EvaluationSet]:
    return [
        EvaluationSet(f"validation-{prompt_class.in_words}", prompt_class.in_words, prompts[prompt_class])
        for prompt_class in JUDGED
    ]


def _shifted(base: float | None, before: float | None, after: float | None) -> float:
    assert base is not None and before is not None and after is not None
    return min(100.0, max(0.0, base + after - before))


def _require_prompts(prompts: Mapping[PromptClass, PromptSet]) -> None:
    missing = [prompt_class.in_words for prompt_class in PromptClass if not prompts.get(prompt_class)]
    if missing:
        raise InputError(f"No {missing[0]} validation prompts. Give at least one of each class.")
