"""``evaluate``: answers, verdicts, general ability and benign KL of one model, saved as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.ability import (
    AbilityComparison,
    AbilityQuestion,
    AbilityResult,
    ask_questions,
    grade_kept,
    read_questions,
)
from prosafeprune.baselines.evaluated_method import evaluated_method
from prosafeprune.baselines.fitting import FittedMethod
from prosafeprune.evaluation.base_likelihoods import with_base_likelihoods
from prosafeprune.evaluation.divergence import Divergence
from prosafeprune.evaluation.earlier_evaluation import EarlierEvaluation, EvaluationComparison, read_earlier
from prosafeprune.evaluation.folder import COMPANIONS, RESULT, EvaluationFolder, kept_ability
from prosafeprune.evaluation.measure import (
    Measurement,
    collect_answers,
    collect_verdicts,
    warn_of_languages,
    warn_of_short_answers,
)
from prosafeprune.evaluation.prompts_record import prompts_record
from prosafeprune.evaluation.sets import (
    EvaluationSet,
    SetChoice,
    choose_sets,
    require_no_leak,
    sets_in_modes,
    warn_of_calibrated_names,
)
from prosafeprune.evaluation.targets import EvaluationTarget, LocalModel, ModelBehindServers
from prosafeprune.files.resumable_folder import locked_folder
from prosafeprune.generation import Decoding, Generator
from prosafeprune.generation.local import replicated_generator
from prosafeprune.jobs.benign_divergence import benign_divergence
from prosafeprune.jobs.evaluated_base import EvaluatedBase, pruning_of, read_base_model, require_base_second
from prosafeprune.judges import Judge
from prosafeprune.judges.registry import make_judge
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.report.evaluation_page import ability_grids, evaluation_grid, evaluation_page
from prosafeprune.report.evaluation_record import EvaluationRecord
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import REPORT_FILE, write_page
from prosafeprune.report.rate_figure import scores_figure
from prosafeprune.report.rate_grids import category_grids
from prosafeprune.report.result_view import ResultView, rate_rows, rates_in_words
from prosafeprune.report.run_record import library_versions
from prosafeprune.requests.evaluate import EvaluateRequest


@dataclass(frozen=True, repr=False)
class Evaluation(ResultView):
    """What was measured, and the folder it is in."""

    record: EvaluationRecord
    measurement: Measurement
    output: Path

    def summary(self) -> str:
        """Return C.R. and S.S., and the folder."""
        return f"{rates_in_words(self.record.scores)}, in {self.output}"

    def grids(self) -> Sequence[Grid]:
        """Return the rates on each set, and general ability where it was measured."""
        categories = category_grids([("", self.record.scores)])
        return [
            evaluation_grid(self.record),
            *categories,
            *ability_grids(self.record),
        ]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each set."""
        return rate_rows(self.record.scores)

    def plot(self) -> Figure:
        """Return the rate of each set, with its interval."""
        return scores_figure(self.record.scores)


def run_evaluate(
    request: EvaluateRequest,
    output: Path,
    *,
    against: Path | None = None,
    overwrite: bool = False,
    reporter: Reporter = SILENT,
) -> Evaluation:
    """Measure a model, resuming an earlier run in ``output``.

    The arguments are those of :func:`prosafeprune.evaluate`.

    Raises:
        InputError: something in the request cannot be used. The answers so far are kept.
    """
    sets = sets_in_modes(choose_sets(SetChoice.of(request, request.seed)), request.thinking)
    questions = read_questions(request.ability, request.data_dir, request.ability_samples, request.seed)
    judge = make_judge(request, reporter)
    warn_of_short_answers(request.max_new_tokens, reporter)
    earlier = read_earlier(against, judge.name, sets) if against is not None else None
    with _measured(request, reporter) as measured:
        _require_measurable(measured, output, sets, reporter)
        require_base_second(request, measured, reporter)
        method = _method(request, output, measured, sets, reporter)
        make_generator = measured.generator if method is None else partial(_method_generator, request, measured, method)
        decoding = Decoding(max_new_tokens=request.max_new_tokens, temperature=request.temperature, seed=request.seed)
        # None, not absent, where there is none: folders are compared by the names that the present run gives.
        fitted_by = {"method": None} if method is None else method.made_by
        file_hash = None if method is None or request.fitted is None else method.sha256
        # Last how it is measured now: a fit of a file may have been made under another system prompt or dtype.
        made_by = {**measured.made_by(), **decoding.model_dump(), **fitted_by, "fit": file_hash, **measured.made_by()}
        other_settings = earlier.other_settings(made_by) if earlier is not None else None
        if other_settings is not None:
            reporter.warning(f"--against: {other_settings}")
        with locked_folder(output, overwrite):
            folder = EvaluationFolder(output, {"command": "evaluate", **made_by})
            base = read_base_model(request, measured, folder, reporter)
            if earlier is not None and base is not None:
                earlier = earlier.scored_under(base.recorded, base.companions, reporter)
            run = _EvaluationRun(request, folder, measured, make_generator, reporter)
            ability = run.answer(sets, questions, decoding)
            divergence = run.divergence(base)
            measurement = run.judged(judge, sets, base)
            record = EvaluationRecord(
                request=request,
                made_by=folder.made_by,
                sessions=folder.sessions(),
                learned={} if method is None or method.must_be_fitted else method.parts.facts,
                judge=judge.name,
                prompts={test_set.name: prompts_record(test_set.prompts) for test_set in sets},
                scores=measurement.scores,
                ability=ability.scores,
                ability_against=_ability_against(request, against, questions, ability, reporter),
                divergence=divergence,
                base=base.recorded if base is not None else None,
                against=_compared(earlier, measurement, other_settings),
                versions=library_versions(),
            )
            folder.write(RESULT, record.model_dump(mode="json"))
            page = evaluation_page(record, measurement, earlier.measurement if earlier is not None else None)
            write_page(page, output / REPORT_FILE)
    return Evaluation(record, measurement, output)


def _compared(
    earlier: EarlierEvaluation | None, measurement: Measurement, other_settings: str | None
) -> EvaluationComparison | None:
    if earlier is None:
        return None
    return earlier.compare(measurement).model_copy(update={"other_settings": other_settings})


def _ability_against(
    request: EvaluateRequest,
    against: Path | None,
    questions: Sequence[AbilityQuestion],
    ability: AbilityResult,
    reporter: Reporter,
) -> AbilityComparison | None:
    """Return the changes of general ability since an earlier evaluation that has answers to the same questions."""
    if against is None or not questions:
        return None
    kept = kept_ability(against, request.ability_tokens)
    missing = sum((0, question.prompt) not in kept for question in questions)
    if missing:
        reporter.note(
            f"{against}: has no answers of at most {request.ability_tokens} tokens to {missing} of the "
            f"{len(questions)} questions of general ability. To compare these too, evaluate it with the same --ability."
        )
        return None
    return ability.against(grade_kept(kept, questions))


@dataclass
class _EvaluationRun:
    """What is still missing, generated by the model."""

    request: EvaluateRequest
    folder: EvaluationFolder
    measured: EvaluationTarget
    make_generator: Callable[[], Generator]
    reporter: Reporter
    _generator: Generator | None = None

    def generator(self) -> Generator:
        """Return the generator, created at the first call."""
        if self._generator is None:
            self._generator = self.make_generator()
        return self._generator

    def answer(
        self, sets: Sequence[EvaluationSet], questions: Sequence[AbilityQuestion], decoding: Decoding
    ) -> AbilityResult:
        """Generate the remaining answers to prompts and ability questions, and return the latter graded."""
        request, tokens, reporter = self.request, self.request.ability_tokens, self.reporter
        try:
            collect_answers(self.folder.answers, self.generator, sets, decoding, request.repeats, reporter, "Answers")
            return ask_questions(self.folder.ability(tokens), self.generator, questions, tokens, reporter)
        finally:
            self.folder.add_session(self._generator.describe() if self._generator is not None else None)

    def judged(self, judge: Judge, sets: Sequence[EvaluationSet], base: EvaluatedBase | None) -> Measurement:
        """Judge the answers and, if a base model was named, score them under it."""
        verdicts, answers = self.folder.verdicts(judge.name), self.folder.answers
        measurement = collect_verdicts(verdicts, answers, judge, sets, self.request.repeats, self.reporter)
        if base is not None:
            measurement = self._scored_by_base_model(base, measurement)
        warn_of_languages([measurement], self.reporter)
        return measurement

    def divergence(self, base: EvaluatedBase | None) -> Divergence | None:
        """Return the divergence from the base model; None when none was named."""
        if base is None or not isinstance(self.measured, LocalModel):
            return None
        if base.tokens is None:
            return self.folder.stored_divergence(base.sha256, base.companions)
        loaded = self.measured.loaded
        found = benign_divergence(base.tokens, loaded, self.request, self.reporter)
        self.folder.store_divergence(base.sha256, {**found.model_dump(), COMPANIONS: base.companions})
        return found

    def _scored_by_base_model(self, base: EvaluatedBase, measurement: Measurement) -> Measurement:
        """Score the answers under the base model, loaded again if needed, after the measured model is freed."""
        if isinstance(self.measured, LocalModel):
            self.measured.free()
        stores = [self.folder.likelihoods(base.sha256, base.companions)] * len(measurement.sets)
        size = self.request.batch_size
        with LocalModel(base.name, self.request, self.reporter, with_replicas=False) as again:
            return with_base_likelihoods(measurement, stores, lambda: again.loaded, size, self.reporter)


def _measured(request: EvaluateRequest, reporter: Reporter) -> Any:
    if request.endpoint is not None:
        return nullcontext(ModelBehindServers(request, request.endpoint, reporter))
    return LocalModel(request.model, request, reporter, merged=request.method != "default")


def _method(
    request: EvaluateRequest,
    output: Path,
    measured: EvaluationTarget,
    sets: Sequence[EvaluationSet],
    reporter: Reporter,
) -> FittedMethod | None:
    """Return the method to evaluate; None for the model as it is."""
    if request.method == "default" or not isinstance(measured, LocalModel):
        return None
    return evaluated_method(request, output, measured, sets, reporter)


def _method_generator(request: EvaluateRequest, measured: LocalModel, method: FittedMethod) -> Generator:
    make = partial(method.method.generator, batch_size=request.batch_size, fitted=method.complete_parts)
    return method.guarded(partial(replicated_generator, measured.loaded, make))


def _require_measurable(
    measured: EvaluationTarget, output: Path, sets: Sequence[EvaluationSet], reporter: Reporter
) -> None:
    """Check that the output is outside the model's folder, and that no prompt to measure on calibrated the model."""
    if isinstance(measured, LocalModel):
        measured.require_outside(output)
    record = pruning_of(measured)
    if record is None:
        return
    calibration = {name: prompts.model_dump() for name, prompts in record.calibration.items()}
    require_no_leak(calibration, sets)
    warn_of_calibrated_names(calibration, sets, reporter)
