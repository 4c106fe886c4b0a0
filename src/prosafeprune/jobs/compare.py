"""``compare``: several methods on one model, with the same prompts and the same judge."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.baselines.fitting import FITTED, FittedMethod, fitted_under
from prosafeprune.baselines.method import FitContext, Method
from prosafeprune.baselines.prosafeprune import PrunedCheckpoint
from prosafeprune.baselines.registry import SEARCH_FOLDER
from prosafeprune.errors import NoPlanError, NotApplicableError
from prosafeprune.evaluation.earlier_evaluation import EarlierEvaluation
from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.measure import Measurement, warn_of_languages, warn_of_short_answers
from prosafeprune.evaluation.prompts_record import prompts_record
from prosafeprune.evaluation.sets import require_no_leak, warn_of_calibrated_names
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.files.resumable_folder import MADE_BY, ResumableFolder, locked_folder
from prosafeprune.files.staging import write_whole
from prosafeprune.jobs.compare_methods import PLANNED, found_plan, given_methods, planned_method, require_named_search
from prosafeprune.jobs.compare_workers import comparison_tasks
from prosafeprune.jobs.measure_method import MeasuredMethod, MethodMeasuring, method_result
from prosafeprune.judges import Judge
from prosafeprune.judges.registry import make_judge
from prosafeprune.parallel.ray_pool import Cluster, connected
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.prompts import require_disjoint
from prosafeprune.report.comparison_grids import comparison_grids, comparison_markdown
from prosafeprune.report.comparison_page import comparison_page, trade_off_figure
from prosafeprune.report.comparison_record import DEFAULT, OURS, ComparisonRecord, MethodResult
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import REPORT_FILE, write_page
from prosafeprune.report.result_view import ResultView, rate_rows, rates_in_words
from prosafeprune.report.run_record import library_versions
from prosafeprune.requests.compare import CompareRequest
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
    warn_of_short_answers(request.max_new_tokens, reporter)
    model = LocalModel(request.model, request, reporter, merged=True)
    model.require_outside(output)
    with connected(ray) as cluster, model, locked_folder(output, overwrite):
        run = _Comparison(request, output, model, prompts, judge, cluster, reporter)
        record = run.compare()
        run.folder.write(RESULT, record.model_dump(mode="json"))
        write_whole(output / TABLE, comparison_markdown(record))
        write_page(comparison_page(record, run.measurements, output), output / REPORT_FILE)
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
        on_cluster = cluster is not None
        self.measuring = MethodMeasuring(request, model, judge, prompts.measured, reporter, on_cluster=on_cluster)
        self.made_by = {**model.made_by(), **self.measuring.decoding.model_dump()}
        self.folder = ResumableFolder(output, {"command": "compare", **self.made_by})
        require_named_search(request, model.subject.source.path, prompts.calibration)
        self.methods = given_methods(request, self.made_by["model"])
        for method in self.methods.values():
            require_disjoint(method.further_prompts(), [test_set.prompts for test_set in prompts.measured])
            if isinstance(method, PrunedCheckpoint):
                require_no_leak(method.described_calibration, prompts.measured)
                warn_of_calibrated_names(method.described_calibration, prompts.measured, reporter)
        self.measured: dict[str, MeasuredMethod] = {}
        self._calibration = {name.value: prompts_record(of_class) for name, of_class in prompts.calibration.items()}
        self._left_out: dict[str, str] = {}

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

    @property
    def measurements(self) -> dict[str, Measurement]:
        """What was measured of each method so far, by its name."""
        return {name: measured.measurement for name, measured in self.measured.items()}

    def _method(self, name: str) -> Method:
        if name not in self.methods:
            searched = self.output / SEARCH_FOLDER
            plan = found_plan(self.request, self.model, self.judge, searched, self.reporter, self.cluster)
            self.methods |= {
                planned: planned_method(planned, plan, self.request)
                for planned in self.request.methods
                if planned in PLANNED
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
        hashes = {name: self.made_by[name] for name in ("model", "companions")}
        learned_from = (self.prompts.calibration, self.prompts.validation)
        asked = self.measuring.asked
        with comparison_tasks(cluster, self.request, hashes, learned_from, asked, self.reporter) as tasks:
            tasks.expect_fits([fitted for fitted, _ in opened.values()])
            for name, (fitted, folder) in opened.items():
                with self._leaving_out(name):
                    tasks.begin(fitted, folder)
            tasks.finish()

    def _open(self, method: Method) -> tuple[FittedMethod, EvaluationFolder]:
        path = self.output / method.name
        path.mkdir(exist_ok=True)
        if all(file.name == MADE_BY for file in path.iterdir()):  # it failed before anything was fitted or answered:
            (path / MADE_BY).unlink(missing_ok=True)  # other settings may mend that
        learns_from = {
            "model": self.made_by["model"],
            "calibration": {name: recorded.model_dump() for name, recorded in self._calibration.items()},
            "validation": {name.value: of_class.sha256 for name, of_class in self.prompts.validation.items()},
            "seed": self.request.seed,
            **fitted_under(self.request),
        }
        learned_from = (*self.prompts.calibration.values(), *method.further_prompts())
        fitted = FittedMethod(method, learns_from, path / FITTED, self._fit_context, learned_from)
        return fitted, EvaluationFolder(path, {**self.made_by, **fitted.made_by})

    def _result(self, method: Method) -> MethodResult:
        fitted, folder = self._open(method)
        measured = self.measuring.measure(fitted, folder)
        default = self.measured.get(DEFAULT)
        self.measured[method.name] = measured
        return method_result(fitted, measured, default, folder)

    def _compared_with_ours(self, result: MethodResult) -> MethodResult:
        """Add to a method how the pruned model differs from it on the same prompts."""
        ours, its = self.measured.get(OURS), self.measured[result.name]
        if ours is None or result.name in (DEFAULT, OURS):
            return result
        against = EarlierEvaluation(result.name, its.measurement).compare(ours.measurement)
        return result.model_copy(update={"pruning_against": against})

    def _fit_context(self) -> FitContext:
        return FitContext(
            self.model.loaded,
            self.prompts.calibration,
            self.prompts.validation,
            self.request.batch_size,
            self.request.seed,
            self.reporter,
        )
