"""``compare``: several methods on one model, with the same prompts and the same judge."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.baselines.fitting import FITTED, FittedMethod
from prosafeprune.baselines.method import FitContext, Method
from prosafeprune.baselines.registry import SEARCH_FOLDER
from prosafeprune.errors import NoPlanError, NotApplicableError
from prosafeprune.evaluation.base_likelihoods import with_base_likelihoods
from prosafeprune.evaluation.earlier_evaluation import EarlierEvaluation
from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.measure import Measurement, collect_answers, collect_verdicts, warn_of_languages
from prosafeprune.evaluation.prompts_record import prompts_record
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.files.line_store import LineStore
from prosafeprune.files.resumable_folder import ResumableFolder, locked_folder
from prosafeprune.files.staging import write_whole
from prosafeprune.generation import Decoding, Generator, TimedGenerator
from prosafeprune.jobs.compare_methods import PLANNED, found_plan, given_methods, require_named_search
from prosafeprune.jobs.compare_workers import comparison_tasks, warm_up
from prosafeprune.judges import Judge
from prosafeprune.judges.registry import make_judge
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.parallel.ray_pool import Cluster, connected
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.prompts import require_disjoint
from prosafeprune.report.comparison_grids import comparison_grids, comparison_markdown
from prosafeprune.report.comparison_page import comparison_page, trade_off_figure
from prosafeprune.report.comparison_record import DEFAULT, OURS, ComparisonRecord, MethodCost, MethodResult
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import REPORT_FILE, write_page
from prosafeprune.report.result_view import ResultView, rate_rows, rates_in_words
from prosafeprune.report.run_record import library_versions
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.setup.load import require_layers
from prosafeprune.setup.prepare import given_plan
from prosafeprune.setup.prompt_sets import ComparisonPrompts, read_prompts_of

RESULT = "comparison.json"
TABLE = "comparison.md"


@dataclass(frozen=True, repr=False)
class CompareResult(ResultView):
    """What was measured of each method, and the folder it is in."""

    record: ComparisonRecord
    measurements: dict[str, Measurement]
    output: Path

    def summary(self) -> str:
        """Return C.R. and S.S. of each method, and the folder."""
        methods = "; ".join(f"{method.name} {rates_in_words(method.scores)}" for method in self.record.methods)
        return f"{methods}; in {self.output}"

    def grids(self) -> Sequence[Grid]:
        """Return the tables of the comparison."""
        return comparison_grids(self.record)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each method and set."""
        return [{"method": method.name, **row} for method in self.record.methods for row in rate_rows(method.scores)]

    def plot(self) -> Figure:
        """Return C.R. against S.S. of each method."""
        return trade_off_figure(self.record)


def run_compare(
    request: CompareRequest,
    output: Path,
    *,
    overwrite: bool = False,
    ray: str | None = None,
    reporter: Reporter = SILENT,
) -> CompareResult:
    """Measure a model with each of several methods, resuming an earlier run in ``output``.

    The arguments are those of :func:`prosafeprune.compare`.

    Raises:
        InputError: something in the request cannot be used. The answers so far are kept.
    """
    prompts = read_prompts_of(request, reporter)
    if request.operator_note is not None:
        reporter.note(request.operator_note)
    judge = make_judge(request, reporter)
    model = LocalModel(request.model, request, reporter)
    model.require_outside(output)
    with connected(ray) as cluster, model, locked_folder(output, overwrite):
        run = _Comparison(request, output, model, prompts, judge, cluster, reporter)
        record = run.compare()
        run.folder.write(RESULT, record.model_dump(mode="json"))
        write_whole(output / TABLE, comparison_markdown(record))
        write_page(comparison_page(record, run.measurements), output / REPORT_FILE)
    return CompareResult(record, run.measurements, output)


class _Comparison:
    """The methods, one after the other."""

    def __init__(
        self,
        request: CompareRequest,
        output: Path,
        model: LocalModel,
        prompts: ComparisonPrompts,
        judge: Judge,
        cluster: Cluster | None,
        reporter: Reporter,
    ) -> None:
        self.request, self.output, self.model = request, output, model
        self.prompts, self.judge, self.cluster, self.reporter = prompts, judge, cluster, reporter
        self.decoding = Decoding(max_new_tokens=request.max_new_tokens)
        self.made_by = {**model.made_by(), **self.decoding.model_dump()}
        self.folder = ResumableFolder(output, self.made_by)
        require_named_search(request, model.subject.source.path)
        self.methods = given_methods(request, self.made_by["model"])
        for method in self.methods.values():
            require_disjoint(method.further_prompts(), [test_set.prompts for test_set in prompts.measured])
        self.measurements: dict[str, Measurement] = {}
        self._costs: dict[str, MethodCost] = {}
        self._calibration = {name.value: prompts_record(of_class) for name, of_class in prompts.calibration.items()}
        self._left_out: dict[str, str] = {}
        self._is_warm = False

    def compare(self) -> ComparisonRecord:
        """Measure all methods that can be used with this model."""
        if self.cluster is not None:
            self._answer_on(self.cluster)
        results: list[MethodResult] = []
        for name in self.request.methods:
            if name not in self._left_out:
                with self._leaving_out(name):
                    results.append(self._result(self._method(name)))
        warn_of_languages(list(self.measurements.values()), self.reporter)
        if not results:
            raise NotApplicableError(f"None of the methods could be used: {' '.join(self._left_out.values())}")
        return ComparisonRecord(
            request=self.request,
            made_by=self.folder.made_by,
            judge=self.judge.name,
            prompts={test_set.name: prompts_record(test_set.prompts) for test_set in self.prompts.measured},
            calibration=self._calibration,
            validation={name.value: prompts_record(of_class) for name, of_class in self.prompts.validation.items()},
            methods=[self._compared_with_ours(result) for result in results],
            left_out=self._left_out,
            versions=library_versions(),
        )

    def _method(self, name: str) -> Method:
        if name not in self.methods:
            searched = self.output / SEARCH_FOLDER
            plan = found_plan(self.request, self.model, self.judge, searched, self.reporter, self.cluster)
            self.methods |= {
                planned: PLANNED[planned](plan=plan) for planned in self.request.methods if planned in PLANNED
            }
        return self.methods[name]

    @contextmanager
    def _leaving_out(self, name: str) -> Iterator[None]:
        """Leave out a method that cannot be used with this model, with a warning."""
        try:
            yield
        except (NoPlanError, NotApplicableError) as error:
            self._left_out[name] = str(error)
            self.reporter.warning(f"{name} is left out. {error}")

    def _answer_on(self, cluster: Cluster) -> None:
        """Fit the methods and generate the missing answers on workers; the answers are judged later."""
        methods: dict[str, Method] = {}
        for name in self.request.methods:
            with self._leaving_out(name):
                methods[name] = self._method(name)
        opened = {name: self._open(method) for name, method in methods.items()}
        sets, hashes = self.prompts.measured, {name: self.made_by[name] for name in ("model", "companions")}
        learned_from = (self.prompts.calibration, self.prompts.validation)
        with comparison_tasks(cluster, self.request, hashes, learned_from, sets, self.decoding, self.reporter) as tasks:
            tasks.expect_fits([fitted for fitted, _ in opened.values()])
            for name, (fitted, folder) in opened.items():
                with self._leaving_out(name):
                    tasks.begin(fitted, folder)
            tasks.finish()

    def _open(self, method: Method) -> tuple[FittedMethod, EvaluationFolder]:
        path = self.output / method.name
        path.mkdir(exist_ok=True)
        learns_from = {
            "model": self.made_by["model"],
            "calibration": {name: recorded.model_dump() for name, recorded in self._calibration.items()},
            "validation": {name.value: of_class.sha256 for name, of_class in self.prompts.validation.items()},
            "seed": self.request.seed,
        }
        fitted = FittedMethod(method, learns_from, path / FITTED, self._fit_context)
        return fitted, EvaluationFolder(path, {**self.made_by, **fitted.made_by})

    def _result(self, method: Method) -> MethodResult:
        fitted, folder = self._open(method)
        sets, generators = self.prompts.measured, list[Generator]()

        def generator() -> Generator:
            generators.append(TimedGenerator(fitted.generator(self._warm(), self.request.batch_size)))
            return generators[0]

        try:
            title = f"Answers: {method.name}"
            collect_answers(folder.answers, generator, sets, self.decoding, 1, self.reporter, title)
        finally:
            folder.add_session(generators[0].describe() if generators else None)
        measured = collect_verdicts(
            folder.verdicts(self.judge.name), folder.answers, self.judge, sets, 1, self.reporter
        )
        # The base model's own answers are likely to it; with a cluster, the model is only in the workers' memory.
        if self.cluster is None and method.name != DEFAULT:
            measured = with_base_likelihoods(
                measured,
                [folder.likelihoods(self.made_by["model"])] * len(sets),
                lambda: self.model.loaded,
                self.request.batch_size,
                self.reporter,
            )
        self.measurements[method.name] = measured
        default = self.measurements.get(DEFAULT)
        compared = EarlierEvaluation(DEFAULT, default).compare(measured) if default and method.name != DEFAULT else None
        self._costs[method.name] = _cost(folder.answers, sets, self._costs.get(DEFAULT), fitted.parts.seconds)
        return MethodResult(
            name=method.name,
            settings=method.describe(),
            learned=fitted.parts.facts,
            learned_sha256=fitted.sha256,
            scores=measured.scores,
            against_default=compared,
            cost=self._costs[method.name],
            sessions=folder.sessions(),
        )

    def _compared_with_ours(self, result: MethodResult) -> MethodResult:
        """Add to a method how the pruned model differs from it on the same prompts."""
        ours, its = self.measurements.get(OURS), self.measurements[result.name]
        if ours is None or result.name in (DEFAULT, OURS):
            return result
        return result.model_copy(update={"pruning_against": EarlierEvaluation(result.name, its).compare(ours)})

    def _fit_context(self) -> FitContext:
        return FitContext(
            self.model.loaded,
            self.prompts.calibration,
            self.prompts.validation,
            self.request.batch_size,
            self.request.seed,
            self.reporter,
        )

    def _warm(self) -> Any:
        """Return the model, warmed up before anything is timed."""
        if not self._is_warm:
            plan = given_plan(self.request) if OURS in self.request.methods else None
            if plan is not None:  # fail before hours are spent on other methods
                require_layers(plan, find_anatomy(self.model.loaded.model))
            warm_up(self.model.loaded, self.prompts.measured[0].prompts.texts[0])
            self._is_warm = True
        return self.model.loaded


def _cost(
    answers: LineStore, sets: Sequence[EvaluationSet], default: MethodCost | None, fit_seconds: float | None
) -> MethodCost:
    """Return what the answers to these sets cost, over all runs, and the fit."""
    texts = dict.fromkeys(text for test_set in sets for text in test_set.prompts.texts)
    rows = [answers[0, text] for text in texts]
    seconds, counts = sum(row["seconds"] for row in rows), [row["tokens"] for row in rows]
    tokens = None if None in counts else sum(counts)
    per_answer, per_token = seconds / len(rows), seconds / tokens if tokens else None
    before = default.seconds_per_token if default else None
    return MethodCost(
        answers=len(rows),
        seconds_per_answer=per_answer,
        tokens_per_answer=None if tokens is None else tokens / len(rows),
        seconds_per_token=per_token,
        answer_ratio=per_answer / default.seconds_per_answer if default else None,
        token_ratio=per_token / before if per_token and before else None,
        fit_seconds=fit_seconds,
    )
