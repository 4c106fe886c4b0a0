"""The analysing job: what the analyses want to see of one model, then of the other, kept as it comes.

An analysis that fails does not stop the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts, read_analysis_prompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.catalogue import CATALOGUE, Entry, Need
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.folder import FINDINGS
from prosafeprune.analysis.page import analysis_page
from prosafeprune.analysis.record import AnalysisRecord, how_made, used_prompts
from prosafeprune.analysis.result import Findings
from prosafeprune.errors import InputError
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.files.resumable_folder import ResumableFolder, locked_folder
from prosafeprune.jobs.analyze_tasks import AnalysisTask, FinishedAnalysis, Role
from prosafeprune.judge.registry import make_judge
from prosafeprune.progress import Reporter, SilentReporter
from prosafeprune.report.page import REPORT_FILE, write_page
from prosafeprune.report.record import library_versions
from prosafeprune.requests.analyze import AnalysisRequest

RECORD = "analysis.json"
ANATOMY = "anatomy.json"


class FailedAnalysesError(InputError):
    """Some analyses failed; the others are finished and written."""

    def __init__(self, message: str, finished: list[FinishedAnalysis]) -> None:
        super().__init__(message)
        self.finished = finished


def run_analyze(
    request: AnalysisRequest,
    entries: Sequence[Entry],
    output: Path,
    *,
    everything: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> list[FinishedAnalysis]:
    """Analyse a model; what an earlier, perhaps interrupted, run left in ``output`` is not done again.

    Args:
        request: what to look at, and how.
        entries: the analyses, from ``find_entries``.
        output: folder for numbers and figures, with one folder in it for each analysis.
        everything: leave out the analyses that this request does not allow, saying why.
        overwrite: throw away what is in ``output``.
        reporter: told of progress.

    Raises:
        InputError: something in the request cannot be used. What was finished until then is kept.
        FailedAnalysesError: some of the analyses failed, the others are done and in the record and the page.
    """
    reporter = reporter or SilentReporter()
    prompts = read_analysis_prompts(request)
    chosen = _allowed(request, entries, prompts, everything, reporter)
    _check_judge(request, [entry for entry, _ in chosen], reporter)
    models: dict[Role, LocalModel] = {"before": LocalModel(request.model, request, reporter)}
    if request.against is not None:
        models["after"] = LocalModel(request.against, request, reporter)
    for model in models.values():
        model.require_outside(output)
    with locked_folder(output, overwrite):
        folder = ResumableFolder(output, {"model": models["before"].subject.sha256})
        job = _Job(request, prompts, models, folder, reporter, alone=len(chosen) == 1)
        finished = job.do(chosen)
        job.sum_up()
    job.require_done(finished)
    return finished


class _Job:
    """The models, one after the other, and the folder."""

    def __init__(
        self,
        request: AnalysisRequest,
        prompts: AnalysisPrompts,
        models: dict[Role, LocalModel],
        folder: ResumableFolder,
        reporter: Reporter,
        *,
        alone: bool,
    ) -> None:
        self.request, self.prompts, self.models, self.folder = request, prompts, models, folder
        self.reporter, self.alone = reporter, alone
        self.failures: dict[str, str] = {}
        """Why an analysis failed, by its name. Errors themselves are not kept: they would keep the model in memory."""

    def do(self, chosen: Sequence[tuple[Entry, Analysis]]) -> list[FinishedAnalysis]:
        """Look at both models, and return what of it is finished."""
        tasks = []
        for entry, analysis in chosen:
            with self._attempt(entry.name):
                task = AnalysisTask(entry, analysis, self.request, self.prompts, self.models, self.folder.path)
                tasks.append(task)
        for role in self.models:
            self._look(self._waiting(tasks, role), role)
        finished = []
        for task in self._unfailed(tasks):
            with self._attempt(task.entry.name):
                finished.append(task.conclude())
        return finished

    def sum_up(self) -> None:
        """Write the record and the page of all that is finished in the folder, if anything is."""
        kept = [(entry, self.folder.read(f"{entry.name}/{FINDINGS}")) for entry in CATALOGUE]
        found = [(entry, Findings.model_validate(findings)) for entry, findings in kept if findings is not None]
        if not found:
            return
        record = self._record([entry for entry, _ in found])
        self.folder.write(RECORD, record.model_dump(mode="json"))
        subject = self.models["before"].subject
        asked = {name: made.request for name, made in record.made.items() if made.request is not None}
        page = analysis_page(self.request, found, Path(subject.name).name, subject.sha256, record.prompts, asked)
        write_page(page, self.folder.path / REPORT_FILE)

    def require_done(self, finished: list[FinishedAnalysis]) -> None:
        """Raise FailedAnalysesError when an analysis failed."""
        if not self.failures:
            return
        told = _by_reason(self.failures)
        if not finished and len(told) == 1:
            raise FailedAnalysesError(told.popitem()[0], finished)
        text = " ".join(f"{', '.join(names)}: {reason}" for reason, names in told.items())
        done = f" Finished: {', '.join(one.entry.name for one in finished)}." if finished else ""
        raise FailedAnalysesError(text + done, finished)

    def _waiting(self, tasks: Sequence[AnalysisTask], role: Role) -> list[AnalysisTask]:
        waiting = []
        for task in self._unfailed(tasks):
            with self._attempt(task.entry.name):
                if task.wants(role):
                    waiting.append(task)
        return waiting

    def _look(self, tasks: Sequence[AnalysisTask], role: Role) -> None:
        """Let the tasks look at a model, and free it before the next one is loaded."""
        if not tasks:
            return
        with self._attempt(*(task.entry.name for task in tasks)), self.models[role] as local:
            # Not kept in a name here: what it collects refers to the model, which must go when this is done.
            self._look_at(
                tasks, role, Context(self.request, self.prompts, local, self.folder.path / "answers", self.reporter)
            )

    def _look_at(self, tasks: Sequence[AnalysisTask], role: Role, context: Context) -> None:
        self._require_alike(context)
        context.require_layers()
        if len(tasks) > 1:
            seconds = context.seconds_together(task.analysis for task in tasks)
            self.reporter.note(f"{len(tasks)} analyses, {role}: about {duration(seconds)} together.")
        for task in tasks:
            with self._attempt(task.entry.name):
                seconds = context.seconds(task.analysis.work(context))
                self.reporter.note(f"{task.entry.title}, {role}: about {duration(seconds)}.")
                task.look(context, role)

    @contextmanager
    def _attempt(self, *names: str) -> Iterator[None]:
        """Do something for these analyses; when it fails, that is told at once, and the others go on."""
        try:
            yield
        except InputError as error:
            self.failures.update(dict.fromkeys(names, str(error)))
            if not self.alone:  # else it is the error that the run ends with
                self.reporter.warning(f"{', '.join(names)}: {error}")

    def _unfailed(self, tasks: Sequence[AnalysisTask]) -> list[AnalysisTask]:
        return [task for task in tasks if task.entry.name not in self.failures]

    def _require_alike(self, context: Context) -> None:
        """Check that both models have the same submodules; those of the first are kept."""
        names = [submodule.name for submodule in context.anatomy.submodules]
        known = self.folder.read_list(ANATOMY)
        if known is None:
            self.folder.write(ANATOMY, names)
        elif known != names:
            raise InputError(
                f"{context.local.subject.name}: has other submodules than {self.request.model}. Give a model that was "
                "made from it with --against."
            )

    def _record(self, entries: Sequence[Entry]) -> AnalysisRecord:
        return AnalysisRecord(
            request=self.request,
            model=self.models["before"].made_by(),
            against=self.models["after"].made_by() if "after" in self.models else None,
            prompts=used_prompts(self.request, self.prompts, entries),
            analyses=tuple(entry.name for entry in entries),
            made={entry.name: how_made(self.folder, entry) for entry in entries},
            versions=library_versions(),
        )


def duration(seconds: float) -> str:
    """Return a rough time in words: seconds up to two minutes, minutes up to two hours, then hours."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _allowed(
    request: AnalysisRequest,
    entries: Sequence[Entry],
    prompts: AnalysisPrompts,
    everything: bool,
    reporter: Reporter,
) -> list[tuple[Entry, Analysis]]:
    """Return the analyses that the request allows; with ``everything`` the others are left out, which is told.

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
        raise InputError("No analysis is left to be done.")
    return allowed


def _by_reason(failures: dict[str, str]) -> dict[str, list[str]]:
    """Return the names of those that failed for the same reason, by the reason."""
    found: dict[str, list[str]] = {}
    for name, reason in failures.items():
        found.setdefault(reason, []).append(name)
    return found


def _check_judge(request: AnalysisRequest, entries: Sequence[Entry], reporter: Reporter) -> None:
    """Check before the long work that a judge can be asked where answers are to be judged."""
    if any(Need.ANSWERS in entry.needs for entry in entries):
        make_judge(request, reporter)  # a server may be out of reach
