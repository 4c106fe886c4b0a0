"""Measuring one method of a comparison: answers, verdicts, general ability, benign KL and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from prosafeprune.ability import AbilityResult, ask_questions, read_questions
from prosafeprune.baselines.fitting import FittedMethod
from prosafeprune.baselines.method import ModelChange
from prosafeprune.baselines.own_method_errors import own_errors_named
from prosafeprune.baselines.registry import SAVEABLE
from prosafeprune.evaluation.base_likelihoods import with_base_likelihoods
from prosafeprune.evaluation.divergence import BaseAnswers, Divergence
from prosafeprune.evaluation.earlier_evaluation import EarlierEvaluation
from prosafeprune.evaluation.folder import ASKED, EvaluationFolder
from prosafeprune.evaluation.measure import Measurement, collect_answers, collect_verdicts
from prosafeprune.evaluation.scores import Change
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.files.line_store import LineStore
from prosafeprune.generation import Decoding, Generator, TimedGenerator
from prosafeprune.jobs.benign_divergence import (
    benign_base_answers,
    benign_divergence,
    benign_divergence_of_decoding,
    benign_test_prompts,
    decoded_benign_answers,
)
from prosafeprune.jobs.compare_workers import AskedPrompts, warm_up
from prosafeprune.judges import Judge
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter
from prosafeprune.report.comparison_record import DEFAULT, OURS, MethodCost, MethodResult
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.setup.load import require_layers
from prosafeprune.setup.prepare import given_plan


@dataclass(frozen=True)
class MeasuredMethod:
    """What was measured of one method."""

    measurement: Measurement
    ability: AbilityResult
    divergence: Divergence | None
    cost: MethodCost


class MethodMeasuring:
    """What every method of a comparison is measured on, and how; answers that a folder has are not given again."""

    def __init__(
        self,
        request: CompareRequest,
        model: LocalModel,
        judge: Judge,
        sets: Sequence[EvaluationSet],
        reporter: Reporter,
        *,
        on_cluster: bool,
    ) -> None:
        """Take what is measured, and read the questions of general ability.

        Args:
            on_cluster: whether workers give the answers, so that the model is in their memory only.

        Raises:
            InputError: the questions cannot be read.
        """
        self.request, self.model, self.judge, self.sets = request, model, judge, sets
        self.reporter, self.on_cluster = reporter, on_cluster
        self.decoding = Decoding(max_new_tokens=request.max_new_tokens)
        self.questions = read_questions(request.ability, request.data_dir, request.ability_samples, request.seed)
        self._is_warm = False

    @property
    def asked(self) -> list[AskedPrompts]:
        """All prompts, in the groups that workers answer at a time."""
        by_task: dict[str, list[str]] = {question.task: [] for question in self.questions}
        for question in self.questions:
            by_task[question.task].append(question.prompt)
        decoding = Decoding(max_new_tokens=self.request.ability_tokens)
        return [
            *(AskedPrompts(each.prompts.texts, self.decoding) for each in self.sets),
            *(AskedPrompts(prompts, decoding, of_ability=True) for prompts in by_task.values()),
        ]

    def measure(self, method: FittedMethod, folder: EvaluationFolder) -> MeasuredMethod:
        """Measure a method, fitting it first if needed.

        Raises:
            NotApplicableError: the method cannot be applied to the model.
            InputError: as the method or the judge does. The answers so far are kept.
        """
        ability = self._answer(method, folder)
        verdicts = folder.verdicts(self.judge.name)
        measurement = collect_verdicts(verdicts, folder.answers, self.judge, self.sets, 1, self.reporter)
        if not self.on_cluster and not method.method.base_model_answers:
            made_by = self.model.made_by()
            stores = [folder.likelihoods(made_by["model"], made_by["companions"])] * len(self.sets)
            size = self.request.batch_size
            measurement = with_base_likelihoods(measurement, stores, lambda: self.model.loaded, size, self.reporter)
        cost = _cost(folder.answers, self.sets, method.parts.seconds)
        return MeasuredMethod(measurement, ability, self._divergence(method, folder), cost)

    def _answer(self, method: FittedMethod, folder: EvaluationFolder) -> AbilityResult:
        """Generate the missing answers to prompts and to questions of general ability; return the latter graded."""
        generators = list[Generator]()

        def generator() -> Generator:
            if not generators:
                generators.append(TimedGenerator(method.generator(self._warm(), self.request.batch_size)))
            return generators[0]

        name, tokens = method.method.name, self.request.ability_tokens
        try:
            title = f"Answers: {name}"
            collect_answers(folder.answers, generator, self.sets, self.decoding, 1, self.reporter, title)
            title = f"General ability: {name}"
            return ask_questions(folder.ability(tokens), generator, self.questions, tokens, self.reporter, title)
        finally:
            folder.add_session(generators[0].describe() if generators else None)

    def _divergence(self, method: FittedMethod, folder: EvaluationFolder) -> Divergence | None:
        """Return the divergence from the base model; None of the base model itself, and where it is not defined."""
        if self.on_cluster or method.method.name == DEFAULT:
            return None
        base, asked = self.model.subject.sha256, benign_test_prompts(self.request.seed).sha256
        if folder.knows_divergence(base, asked):
            return folder.stored_divergence(base)
        loaded, kind = self._warm(), method.method
        answers = self._base_answers if isinstance(kind, ModelChange) else self._decoded_base_answers
        title = f"Divergence on benign prompts: {kind.name}"
        found: Divergence | None
        with own_errors_named(kind):
            if isinstance(kind, ModelChange):
                changed = kind.changes(loaded, method.complete_parts)
                with changed():
                    found = benign_divergence(answers, loaded, self.request, self.reporter, title)
            else:
                generator = kind.generator(loaded, self.request.batch_size, method.complete_parts)
                found = benign_divergence_of_decoding(answers, generator, self.reporter, title)
        folder.store_divergence(base, None if found is None else {**found.model_dump(), ASKED: asked})
        return found

    @cached_property
    def _base_answers(self) -> BaseAnswers:
        return benign_base_answers(self._warm(), benign_test_prompts(self.request.seed), self.request, self.reporter)

    @cached_property
    def _decoded_base_answers(self) -> BaseAnswers:
        return decoded_benign_answers(self._base_answers, self._warm(), self.request, self.reporter)

    def _warm(self) -> LoadedModel:
        """Return the model, warmed up before anything is timed."""
        if not self._is_warm:
            plan = given_plan(self.request) if OURS in self.request.methods else None
            if plan is not None:  # fail before hours are spent on other methods
                require_layers(plan, find_anatomy(self.model.loaded.model))
            warm_up(self.model.loaded, self.sets[0].prompts.texts[0])
            self._is_warm = True
        return self.model.loaded


def method_result(
    method: FittedMethod, measured: MeasuredMethod, default: MeasuredMethod | None, folder: EvaluationFolder
) -> MethodResult:
    """Return the record of a method, with its changes from default, which is None for default and without it."""
    scores, cost = measured.measurement.scores, measured.cost
    against, ability_changes = None, dict[str, Change]()
    if default is not None:
        against = EarlierEvaluation(DEFAULT, default.measurement).compare(measured.measurement)
        ability_changes = measured.ability.against(default.ability).changes
        per_token = default.cost.seconds_per_token
        ratios = {
            "answer_ratio": cost.seconds_per_answer / default.cost.seconds_per_answer,
            "token_ratio": cost.seconds_per_token / per_token if cost.seconds_per_token and per_token else None,
        }
        cost = cost.model_copy(update=ratios)
    return MethodResult(
        name=method.method.name,
        settings=method.method.describe(),
        learned=method.parts.facts,
        learned_sha256=method.sha256,
        fit_is_model=SAVEABLE.get(method.method.name) is type(method.method),
        scores=scores,
        against_default=against,
        ability=measured.ability.scores,
        ability_changes=ability_changes,
        divergence=measured.divergence,
        cost=cost,
        sessions=folder.sessions(),
    )


def _cost(answers: LineStore, sets: Sequence[EvaluationSet], fit_seconds: float | None) -> MethodCost:
    """Return what the answers to these sets cost, over all runs, and the fit; without ratios to default."""
    texts = dict.fromkeys(text for test_set in sets for text in test_set.prompts.texts)
    rows = [answers[0, text] for text in texts]
    seconds, counts = sum(row["seconds"] for row in rows), [row["tokens"] for row in rows]
    tokens = None if None in counts else sum(counts)
    return MethodCost(
        answers=len(rows),
        seconds_per_answer=seconds / len(rows),
        tokens_per_answer=None if tokens is None else tokens / len(rows),
        seconds_per_token=seconds / tokens if tokens else None,
        answer_ratio=None,
        token_ratio=None,
        fit_seconds=fit_seconds,
    )
