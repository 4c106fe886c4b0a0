"""A comparison's cells on a cluster: what each method learns, and its answers to each set of prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.baselines.fitting import FittedMethod
from prosafeprune.baselines.method import FitContext, FittedParts, Method
from prosafeprune.errors import InputError
from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.measure import keep_answer
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.generation import Answer, Decoding, LocalGenerator, TimedGenerator, answer_all
from prosafeprune.model.loading import LoadedModel
from prosafeprune.parallel.ray_pool import Cluster, Pool
from prosafeprune.progress import Reporter, SilentReporter
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.setup.prepare import PromptSets

WARM_UP = 2
"""Tokens of an answer that is thrown away: what only the very first one costs is spent before anything is timed."""


def warm_up(loaded: LoadedModel, prompt: str) -> None:
    """Have a model answer once."""
    answer_all(LocalGenerator(loaded, 1), [prompt], Decoding(max_new_tokens=WARM_UP))


class Cells:
    """The cells of a comparison, done by workers of a cluster, each with the model loaded once."""

    def __init__(self, pool: Pool, sets: Sequence[EvaluationSet], decoding: Decoding, reporter: Reporter) -> None:
        self.pool, self.sets, self.decoding, self.reporter = pool, sets, decoding, reporter
        self._begun: list[tuple[EvaluationFolder, _Answer]] = []

    def expect_fits(self, methods: Sequence[FittedMethod]) -> None:
        """Start fitting the methods that must be fitted."""
        self.pool.expect(_Fit(one.method) for one in methods if one.must_be_fitted)

    def begin(self, fitted: FittedMethod, folder: EvaluationFolder) -> None:
        """Fit a method, if that is to do, and begin to have its missing answers, a cell for each set.

        Raises:
            NotApplicableError: the method finds nothing to work with in the model.
            InputError: as the method does, or workers are lost.
        """
        if fitted.must_be_fitted:
            fitted.save(self.pool.result(_Fit(fitted.method)))
        seen: set[str] = set()
        for chosen in self.sets:
            missing = [text for text in chosen.prompts.texts if (0, text) not in folder.answers and text not in seen]
            seen.update(missing)
            if missing:
                self._begun.append((folder, _Answer(fitted.method, fitted.parts, tuple(missing), self.decoding)))
        self.pool.expect(cell for _, cell in self._begun)

    def finish(self) -> None:
        """Keep the answers of all cells as they come. Raises InputError as the methods do."""
        with self.reporter.stage("Answers of the cluster", len(self._begun)) as advance:
            for folder, cell in self._begun:
                answers, described = self.pool.result(cell)
                for prompt, answer in zip(cell.prompts, answers, strict=True):
                    keep_answer(folder.answers, 0, prompt, answer)
                folder.add_session(described)
                advance(1)


@contextmanager
def cells(
    cluster: Cluster,
    request: CompareRequest,
    model: str,
    fit_prompts: tuple[PromptSets, PromptSets],
    sets: Sequence[EvaluationSet],
    decoding: Decoding,
    reporter: Reporter,
) -> Iterator[Cells]:
    """Give the cells of a comparison for as long as the context.

    Args:
        cluster: whose workers do them.
        request: what is compared.
        model: the hash of its model, which that of the workers must have too.
        fit_prompts: calibration and validation prompts, for methods that learn.
        sets: what is measured on.
        decoding: how answers are drawn.
        reporter: told of progress.

    Raises:
        InputError: the cluster has no room for workers.
    """
    local = Path(request.model).expanduser()
    name = str(local.resolve()) if local.exists() else request.model
    calibration, validation = fit_prompts
    setup = _MakeBench(
        request.model_copy(update={"model": name}), model, dict(calibration), dict(validation), sets[0].prompts.texts[0]
    )
    with cluster.pool(request.device, setup) as pool:
        yield Cells(pool, sets, decoding, reporter)


@dataclass(frozen=True)
class _Bench:
    """What a worker has: the model, and what methods learn from."""

    request: CompareRequest
    context: FitContext


@dataclass(frozen=True)
class _MakeBench:
    request: CompareRequest
    model: str
    calibration: PromptSets
    validation: PromptSets
    first_prompt: str

    def __call__(self, state: Any) -> _Bench:
        request, reporter = self.request, SilentReporter()
        subject = LocalModel(request.model, request, reporter)
        if subject.made_by()["model"] != self.model:
            raise InputError(f"{request.model}: is another model here than where the command was given.")
        warm_up(subject.loaded, self.first_prompt)
        context = FitContext(
            subject.loaded, self.calibration, self.validation, request.batch_size, request.seed, reporter
        )
        return _Bench(request, context)


@dataclass(frozen=True)
class _Fit:
    method: Method

    def __call__(self, state: Any) -> FittedParts:
        bench: _Bench = state
        return self.method.fit(bench.context)


@dataclass(frozen=True, eq=False)  # tensors have no hash
class _Answer:
    method: Method
    fitted: FittedParts
    prompts: tuple[str, ...]
    decoding: Decoding

    def __call__(self, state: Any) -> tuple[list[Answer], Mapping[str, Any]]:
        bench: _Bench = state
        generator = TimedGenerator(self.method.generator(bench.context.loaded, bench.request.batch_size, self.fitted))
        return answer_all(generator, self.prompts, self.decoding), generator.describe()
