"""A comparison on a cluster: one task fits a method, one answers a set of prompts with it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from prosafeprune.baselines.fitting import FittedMethod
from prosafeprune.baselines.method import FitContext, FittedParts, Method
from prosafeprune.errors import InputError
from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.measure import store_answer
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.files.line_store import LineStore
from prosafeprune.files.user_path import user_path
from prosafeprune.generation import Answer, Decoding, LocalGenerator, TimedGenerator, answer_all
from prosafeprune.model.loading import LoadedModel
from prosafeprune.parallel.ray_pool import Cluster, Pool
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.setup.prompt_sets import PromptSets

WARM_UP = 2
"""Tokens of a discarded answer: the first one is slower, and answers are timed."""


def warm_up(loaded: LoadedModel, prompt: str) -> None:
    """Have a model answer once."""
    answer_all(LocalGenerator(loaded, 1), [prompt], Decoding(max_new_tokens=WARM_UP))


@dataclass(frozen=True)
class AskedPrompts:
    """Prompts that a worker answers in one task, and how."""

    prompts: Sequence[str]
    decoding: Decoding
    of_ability: bool = False
    """Whether they are questions of general ability, whose answers have a file of their own."""

    def kept_in(self, folder: EvaluationFolder) -> LineStore:
        """Return the answers to such prompts that a folder has."""
        return folder.ability(self.decoding.max_new_tokens) if self.of_ability else folder.answers


class ComparisonTasks:
    """The tasks of a comparison, run by the workers of a cluster, each of which loads the model once."""

    def __init__(self, pool: Pool, asked: Sequence[AskedPrompts], reporter: Reporter) -> None:
        self.pool, self.asked, self.reporter = pool, asked, reporter
        self._begun: list[tuple[EvaluationFolder, AskedPrompts, _Answer]] = []

    def expect_fits(self, methods: Sequence[FittedMethod]) -> None:
        """Start fitting the methods that must be fitted."""
        self.pool.expect(_Fit(method.method) for method in methods if method.must_be_fitted)

    def begin(self, fitted: FittedMethod, folder: EvaluationFolder) -> None:
        """Fit a method if needed, and start generating its missing answers, one task per group of prompts.

        Raises:
            NotApplicableError: the method cannot be applied to the model.
            InputError: as the method does, or workers are lost.
        """
        missing = list(self._missing(folder))
        if fitted.must_be_fitted or (missing and fitted.lacks_tensors):
            fitted.save(self.pool.result(_Fit(fitted.method)))
        for asked, prompts in missing:
            self._begun.append((folder, asked, _Answer(fitted.method, fitted.parts, prompts, asked.decoding)))
        self.pool.expect(task for _, _, task in self._begun)

    def finish(self) -> None:
        """Save the answers of all tasks as they arrive. Raises InputError as the methods do."""
        with self.reporter.stage("Answers of the cluster", len(self._begun)) as advance:
            for folder, asked, task in self._begun:
                answers, described = self.pool.result(task)
                kept = asked.kept_in(folder)
                for prompt, answer in zip(task.prompts, answers, strict=True):
                    store_answer(kept, 0, prompt, answer)
                folder.add_session(described)
                advance(1)

    def _missing(self, folder: EvaluationFolder) -> Iterator[tuple[AskedPrompts, tuple[str, ...]]]:
        """Yield each group that lacks answers, with the prompts that do; a prompt in two groups is in the first."""
        seen: set[tuple[bool, str]] = set()
        for asked in self.asked:
            kept = asked.kept_in(folder)
            keys = [(asked.of_ability, text) for text in asked.prompts if (0, text) not in kept]
            missing = [key for key in dict.fromkeys(keys) if key not in seen]
            seen.update(missing)
            if missing:
                yield asked, tuple(text for _, text in missing)


@contextmanager
def comparison_tasks(
    cluster: Cluster,
    request: CompareRequest,
    model: Mapping[str, Any],
    fit_prompts: tuple[PromptSets, PromptSets],
    asked: Sequence[AskedPrompts],
    reporter: Reporter,
) -> Iterator[ComparisonTasks]:
    """Yield the tasks of a comparison inside the context.

    Args:
        model: hashes of its model and of the files next to it, by name, which the workers' model must have too.

    Raises:
        InputError: the cluster has no room for workers.
    """
    local = user_path(request.model)
    name = str(local.resolve()) if local.exists() else request.model
    calibration, validation = fit_prompts
    setup = _MakeFitContext(
        request.model_copy(update={"model": name}), model, dict(calibration), dict(validation), asked[0].prompts[0]
    )
    with cluster.pool(request.device, setup) as pool:
        yield ComparisonTasks(pool, asked, reporter)


@dataclass(frozen=True)
class _MakeFitContext:
    request: CompareRequest
    model: Mapping[str, Any]
    calibration: PromptSets
    validation: PromptSets
    first_prompt: str

    def __call__(self) -> FitContext:
        request = self.request
        subject = LocalModel(request.model, request, SILENT, merged=True)
        made_by = subject.made_by()
        if [made_by[name] for name in self.model] != list(self.model.values()):
            raise InputError(
                f"{request.model}: differs from the driver's model of that name. Copy the driver's model here."
            )
        warm_up(subject.loaded, self.first_prompt)
        return FitContext(subject.loaded, self.calibration, self.validation, request.batch_size, request.seed, SILENT)


@dataclass(frozen=True)
class _Fit:
    method: Method

    def __call__(self, state: FitContext) -> FittedParts:
        started = time.perf_counter()
        return replace(self.method.fit(state), seconds=time.perf_counter() - started)


@dataclass(frozen=True, eq=False)  # tensors have no hash
class _Answer:
    method: Method
    fitted: FittedParts
    prompts: tuple[str, ...]
    decoding: Decoding

    def __call__(self, state: FitContext) -> tuple[list[Answer], Mapping[str, Any]]:
        generator = TimedGenerator(self.method.generator(state.loaded, state.batch_size, self.fitted))
        return answer_all(generator, self.prompts, self.decoding), generator.describe()
