"""The analysis job: every analysis observes the base model, then the pruned model; finished work is kept.

An analysis that fails does not stop the others.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from prosafeprune.analysis.analysis_folder import RESULT, AnalysisRecord, read_provenance, read_result, used_prompts
from prosafeprune.analysis.analysis_page import analysis_page
from prosafeprune.analysis.analysis_prompts import AnalysisPrompts, read_analysis_prompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.catalogue import CATALOGUE, CatalogueEntry
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.plan_lookup import pooled_as_planned
from prosafeprune.analysis.time_estimate import Workload
from prosafeprune.errors import InputError
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.files.resumable_folder import ResumableFolder, locked_folder
from prosafeprune.jobs.analyze_tasks import AnalysisTask, FinishedAnalysis, Role
from prosafeprune.jobs.evaluated_base import bases_of
from prosafeprune.judges.registry import make_judge
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.report.page import REPORT_FILE, write_page
from prosafeprune.report.run_record import library_versions
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.text import duration

RECORD = "analysis.json"
ANATOMY = "anatomy.json"


class FailedAnalysesError(InputError):
    """Some analyses failed; the others are finished and saved."""

    def __init__(self, message: str, finished: list[FinishedAnalysis]) -> None:
        super().__init__(message)
        self.finished = finished


def run_analyze(
    request: AnalyzeRequest,
    entries: Sequence[CatalogueEntry],
    output: Path,
    *,
    everything: bool = False,
    overwrite: bool = False,
    reporter: Reporter = SILENT,
) -> list[FinishedAnalysis]:
    """Analyse a model, reusing what an earlier run left in ``output``.

    Args:
        entries: the analyses, from ``find_entries``.
        everything: leave out the analyses that this request does not allow, with a warning.

    Raises:
        InputError: something in the request is invalid. What finished earlier is kept.
        FailedAnalysesError: some analyses failed; the others are finished and in the record and on the page.
    """
    if not everything:
        _require_used(request, entries)
    if any("layers" in entry.load().used_settings for entry in entries):  # an analysis of a plan
        request = pooled_as_planned(request, reporter)
    prompts = read_analysis_prompts(request, reporter)
    selected = _select_allowed(request, entries, prompts, everything, reporter)
    judge = _judge_name(request, [analysis for _, analysis in selected], reporter)
    models: dict[Role, LocalModel] = {"before": LocalModel(request.model, request, reporter, merged=True)}
    if request.against is not None:
        models["after"] = LocalModel(request.against, request, reporter, merged=True)
        _require_pruned_second(request, models["before"], models["after"], reporter)
    for model in models.values():
        model.require_outside(output)
    with locked_folder(output, overwrite):
        folder = ResumableFolder(output, {"command": "analyze", "model": models["before"].subject.sha256})
        job = _AnalysisJob(request, prompts, models, folder, judge, reporter, is_single=len(selected) == 1)
        finished = job.run(selected)
        job.write_report()
    job.raise_failures(finished)
    return finished


@dataclass
class _AnalysisJob:
    """The models, loaded one after the other, and the output folder."""

    request: AnalyzeRequest
    prompts: AnalysisPrompts
    models: dict[Role, LocalModel]
    folder: ResumableFolder
    judge: str | None
    """The name of the judge, if answers are judged."""
    reporter: Reporter
    is_single: bool
    failures: dict[str, str] = field(default_factory=dict)
    """Error message by analysis. The exceptions themselves would keep the model in memory."""

    def run(self, selected: Sequence[tuple[CatalogueEntry, Analysis]]) -> list[FinishedAnalysis]:
        """Observe both models, and return the finished analyses."""
        tasks = []
        for entry, analysis in selected:
            with self._attempt(entry.name):
                task = AnalysisTask(
                    entry, analysis, self.request, self.prompts, self.models, self.folder.path, self.judge
                )
                tasks.append(task)
        for role in self.models:
            self._observe(self._pending(tasks, role), role)
        finished = []
        for task in self._unfailed(tasks):
            with self._attempt(task.entry.name):
                finished.append(task.conclude())
        return finished

    def write_report(self) -> None:
        """Write the record and the page of every finished analysis in the folder, if any."""
        saved = [(entry, read_result(self.folder, f"{entry.name}/{RESULT}")) for entry in CATALOGUE]
        results = [(entry, result) for entry, result in saved if result is not None]
        if not results:
            return
        record = self._record([entry for entry, _ in results])
        self.folder.write(RECORD, record.model_dump(mode="json"))
        subject = self.models["before"].subject
        requests = {name: made.request for name, made in record.made.items() if made.request is not None}
        page = analysis_page(self.request, results, Path(subject.name).name, subject.sha256, record.prompts, requests)
        write_page(page, self.folder.path / REPORT_FILE)

    def raise_failures(self, finished: list[FinishedAnalysis]) -> None:
        """Raise FailedAnalysesError if an analysis failed."""
        if not self.failures:
            return
        by_reason = _by_reason(self.failures)
        if not finished and len(by_reason) == 1:
            raise FailedAnalysesError(next(iter(by_reason)), finished)
        text = " ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
        rest = f" Finished: {', '.join(analysis.entry.name for analysis in finished)}." if finished else ""
        raise FailedAnalysesError(text + rest, finished)

    def _pending(self, tasks: Sequence[AnalysisTask], role: Role) -> list[AnalysisTask]:
        pending = []
        for task in self._unfailed(tasks):
            with self._attempt(task.entry.name):
                if task.needs(role):
                    pending.append(task)
        return pending

    def _observe(self, tasks: Sequence[AnalysisTask], role: Role) -> None:
        """Let the tasks observe a model, and free it before the next one is loaded."""
        if not tasks:
            return
        with self._attempt(*(task.entry.name for task in tasks)), self.models[role] as local:
            # The context refers to the model; bound to a name here, it would keep the model in memory.
            self._observe_in(
                Context(self.request, self.prompts, local, self.folder.path / "answers", self.reporter), tasks, role
            )

    def _observe_in(self, context: Context, tasks: Sequence[AnalysisTask], role: Role) -> None:
        self._require_same_submodules(context)
        context.require_layers()
        if len(tasks) > 1:
            total = Workload()
            for task in tasks:
                with suppress(InputError):  # raised again when the analysis runs
                    total += task.analysis.workload(context)
            self.reporter.note(f"{len(tasks)} analyses, {role}: about {duration(context.speed.seconds(total))} in all.")
        for task in tasks:
            with self._attempt(task.entry.name):
                seconds = context.speed.seconds(task.analysis.workload(context))
                self.reporter.note(f"{task.entry.title}, {role}: about {duration(seconds)}.")
                task.observe(context, role)

    @contextmanager
    def _attempt(self, *names: str) -> Iterator[None]:
        """Record and report an InputError of these analyses, so that the others continue."""
        try:
            yield
        except InputError as error:
            self.failures.update(dict.fromkeys(names, str(error)))
            if not self.is_single:  # a single analysis ends the run with this error
                self.reporter.warning(f"{', '.join(names)}: {error}")

    def _unfailed(self, tasks: Sequence[AnalysisTask]) -> list[AnalysisTask]:
        return [task for task in tasks if task.entry.name not in self.failures]

    def _require_same_submodules(self, context: Context) -> None:
        """Check that both models have the same submodules; those of the first are saved."""
        names = [submodule.name for submodule in context.anatomy.submodules]
        saved = self.folder.read_list(ANATOMY)
        if saved is None:
            self.folder.write(ANATOMY, names)
        elif saved != names:
            raise InputError(
                f"{context.local.subject.name}: has other submodules than {self.request.model}. Pass a model that was "
                "made from it with --against."
            )

    def _record(self, entries: Sequence[CatalogueEntry]) -> AnalysisRecord:
        return AnalysisRecord(
            request=self.request,
            model=self.models["before"].made_by(),
            against=self.models["after"].made_by() if "after" in self.models else None,
            prompts=used_prompts(self.request, self.prompts, entries),
            analyses=tuple(entry.name for entry in entries),
            made={entry.name: read_provenance(self.folder, entry) for entry in entries},
            versions=library_versions(),
        )


def _require_pruned_second(request: AnalyzeRequest, before: LocalModel, after: LocalModel, reporter: Reporter) -> None:
    """Warn when the pruned model was made from another model than the first, according to its record.

    Raises:
        InputError: the first model was pruned from the second, so every change would be reported the wrong way round.
    """
    if after.subject.sha256 in bases_of(before):
        raise InputError(
            f"--against {request.against}: {request.model} was pruned from it, so the two are swapped. Give the base "
            "model first, and the pruned one with --against."
        )
    bases = bases_of(after)
    if bases and before.subject.sha256 not in bases:
        reporter.warning(
            f"--against {request.against}: was, according to its record, made from another model than {request.model}, "
            "so pruning is not all that differs between the two."
        )


def _select_allowed(
    request: AnalyzeRequest,
    entries: Sequence[CatalogueEntry],
    prompts: AnalysisPrompts,
    everything: bool,
    reporter: Reporter,
) -> list[tuple[CatalogueEntry, Analysis]]:
    """Return the analyses that the request allows; with ``everything`` the others are left out with a warning.

    Raises:
        InputError: one that was named is not allowed, or none is.
    """
    allowed, left_out = [], {}
    for entry in entries:
        analysis = entry.load()
        try:
            analysis.check(request, prompts)
        except InputError as error:
            if not everything:
                raise
            left_out[entry.name] = str(error)
        else:
            allowed.append((entry, analysis))
    for reason, names in _by_reason(left_out).items():
        reporter.warning(f"Left out: {', '.join(names)}. {reason}")
    if not allowed:
        raise InputError("No analysis is left to run. Pass the options that the warnings name.")
    return allowed


def _require_used(request: AnalyzeRequest, named: Sequence[CatalogueEntry]) -> None:
    """Raise InputError when a setting that the user gave is for other analyses than those named."""
    used = {setting for entry in named for setting in entry.load().used_settings}
    for setting in sorted(request.model_fields_set - used):
        takers = [entry.name for entry in CATALOGUE if setting in entry.load().used_settings]
        if takers:
            raise InputError(
                f"--{setting.replace('_', '-')}: has no effect on {', '.join(entry.name for entry in named)}; it is "
                f"for {', '.join(takers)}. Leave it out, or name one of these."
            )


def _by_reason(failures: dict[str, str]) -> dict[str, list[str]]:
    """Return the names of the analyses that failed, grouped by reason."""
    groups: dict[str, list[str]] = {}
    for name, reason in failures.items():
        groups.setdefault(reason, []).append(name)
    return groups


def _judge_name(request: AnalyzeRequest, analyses: Sequence[Analysis], reporter: Reporter) -> str | None:
    """Return the judge's name, if answers are to be judged. Raises InputError when it is unavailable."""
    is_needed = any(analysis.judges_answers(request) for analysis in analyses)
    return make_judge(request, reporter).name if is_needed else None
