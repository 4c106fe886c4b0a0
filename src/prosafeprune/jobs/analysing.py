"""The analysing job: what the analyses want to see of one model, then of the other, kept as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from prosafeprune.analysis.analysis import Analysis
from prosafeprune.analysis.catalogue import CATALOGUE, Entry, Need
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.folder import FINDINGS, AnalysisFolder
from prosafeprune.analysis.page import analysis_page
from prosafeprune.analysis.prompts import AnalysisPrompts, read_analysis_prompts
from prosafeprune.analysis.request import AnalysisRequest
from prosafeprune.analysis.result import Findings
from prosafeprune.errors import InputError
from prosafeprune.evaluation.subjects import LocalModel
from prosafeprune.judge.choice import make_judge
from prosafeprune.kept_folder import KeptFolder, kept_alone
from prosafeprune.progress import Reporter, SilentReporter
from prosafeprune.report.page import REPORT_FILE, write_page
from prosafeprune.report.record import PromptsRecord, library_versions, prompts_record

Role = Literal["before", "after"]
RECORD = "analysis.json"
ANATOMY = "anatomy.json"


class AnalysisRecord(BaseModel):
    """What was analysed, and how. It holds no date."""

    format: int = 1
    request: AnalysisRequest
    model: dict[str, Any]
    """Hashes of the model, and how it runs."""
    against: dict[str, Any] | None
    prompts: dict[str, PromptsRecord]
    analyses: tuple[str, ...]
    versions: dict[str, str]


@dataclass(frozen=True)
class Finished:
    """One analysis that is done."""

    entry: Entry
    findings: Findings
    folder: Path


def run_analyses(
    request: AnalysisRequest,
    entries: Sequence[Entry],
    output: Path,
    *,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> list[Finished]:
    """Analyse a model; what an earlier, perhaps interrupted, run left in ``output`` is not done again.

    Args:
        request: what to look at, and how.
        entries: the analyses, from ``find_entries``.
        output: folder for numbers and figures, with one folder in it for each analysis.
        overwrite: throw away what is in ``output``.
        reporter: told of progress.

    Raises:
        InputError: something in the request cannot be used. What was finished until then is kept.
    """
    reporter = reporter or SilentReporter()
    _check_judge(request, entries, reporter)
    prompts = read_analysis_prompts(request)
    analyses = [entry.load() for entry in entries]
    for analysis in analyses:
        analysis.check(request, prompts)
    models: dict[Role, LocalModel] = {"before": LocalModel(request.model, request, reporter)}
    if request.against is not None:
        models["after"] = LocalModel(request.against, request, reporter)
    with kept_alone(output, overwrite):
        folder = KeptFolder(output, {"model": models["before"].subject.sha256})
        job = _Job(request, prompts, models, folder, reporter)
        tasks = [_Task(*pair, job) for pair in zip(entries, analyses, strict=True)]
        for role in models:
            job.look([task for task in tasks if task.wants(role)], role)
        finished = [Finished(task.entry, task.conclude(), task.folder.path) for task in tasks]
        job.sum_up()
    return finished


class _Job:
    """The models, one after the other, and the folder."""

    def __init__(
        self,
        request: AnalysisRequest,
        prompts: AnalysisPrompts,
        models: dict[Role, LocalModel],
        folder: KeptFolder,
        reporter: Reporter,
    ) -> None:
        self.request, self.prompts, self.models, self.folder = request, prompts, models, folder
        self.reporter = reporter

    def look(self, tasks: Sequence[_Task], role: Role) -> None:
        """Let the tasks look at a model, and free it before the next one is loaded."""
        if not tasks:
            return
        with self.models[role] as local:
            # Not kept in a name here: what it collects refers to the model, which must go when this is done.
            self._look(
                tasks, role, Context(self.request, self.prompts, local, self.folder.path / "answers", self.reporter)
            )

    def _look(self, tasks: Sequence[_Task], role: Role, context: Context) -> None:
        self._require_alike(context)
        context.require_layers()
        for task in tasks:
            seconds = context.seconds(task.analysis.work(context))
            self.reporter.note(f"{task.entry.title}, {role}: about {duration(seconds)}.")
            task.folder.keep_observation(role, task.analysis.observe(context, task.folder.observation("before")))
            if not any(task.wants(other) for other in self.models):
                task.conclude()

    def _require_alike(self, context: Context) -> None:
        """Check that both models have the same submodules; those of the first are kept."""
        names = [submodule.name for submodule in context.anatomy.submodules]
        known = self.folder.read(ANATOMY)
        if known is None:
            self.folder.write(ANATOMY, names)
        elif known != names:
            raise InputError(
                f"{context.local.subject.name}: has other submodules than {self.request.model}. Give a model that was "
                "made from it with --against."
            )

    def sum_up(self) -> None:
        """Write the record and the page of all that is finished in the folder."""
        kept = [(entry, self.folder.read(f"{entry.name}/{FINDINGS}")) for entry in CATALOGUE]
        found = [(entry, Findings.model_validate(findings)) for entry, findings in kept if findings is not None]
        record = self._record([entry.name for entry, _ in found])
        self.folder.write(RECORD, record.model_dump(mode="json"))
        subject = self.models["before"].subject
        page = analysis_page(self.request, found, Path(subject.name).name, subject.sha256, record.prompts)
        write_page(page, self.folder.path / REPORT_FILE)

    def _record(self, names: Sequence[str]) -> AnalysisRecord:
        splits = {"calibration": self.prompts.calibration, "test": self.prompts.test}
        records = {
            f"{split} {name.in_words}": prompts_record(one)
            for split, sets in splits.items()
            for name, one in sets.items()
        }
        if self.prompts.general is not None:
            records["general"] = prompts_record(self.prompts.general)
        return AnalysisRecord(
            request=self.request,
            model=self.models["before"].made_by(),
            against=self.models["after"].made_by() if "after" in self.models else None,
            prompts=records,
            analyses=tuple(names),
            versions=library_versions(),
        )


class _Task:
    """One analysis with its folder."""

    def __init__(self, entry: Entry, analysis: Analysis, job: _Job) -> None:
        self.entry, self.analysis, self.request = entry, analysis, job.request
        self.roles: list[Role] = [role for role in job.models if role == "before" or analysis.compares]
        made_by = {
            **job.models["before"].made_by(),
            "against": job.models["after"].subject.sha256 if "after" in self.roles else None,
            **job.prompts.hashes,
            **job.request.model_dump(mode="json", include={"pooling", "seed", "batch_size", *analysis.settings}),
        }
        self.folder = AnalysisFolder(job.folder.path / entry.name, made_by)

    def wants(self, role: Role) -> bool:
        """Tell whether a model must still be looked at."""
        waits = self.folder.findings() is None and self.folder.observation(role) is None
        return role in self.roles and waits

    def conclude(self) -> Findings:
        """Return the findings, made from what was seen unless they are kept, and draw what is missing."""
        findings = self.folder.findings()
        if findings is None:
            before = self.folder.observation("before")
            assert before is not None
            after = self.folder.observation("after") if "after" in self.roles else None
            findings = self.analysis.conclude(self.request, before, after)
            self.folder.keep_findings(findings)
        self.folder.draw_missing(findings)
        return findings


def duration(seconds: float) -> str:
    """Return a rough time in words: seconds up to two minutes, minutes up to two hours, then hours."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _check_judge(request: AnalysisRequest, entries: Sequence[Entry], reporter: Reporter) -> None:
    """Check before the long work that a judge can be asked where answers are to be judged."""
    if any(Need.ANSWERS in entry.needs for entry in entries):
        make_judge(request, reporter)  # a server may be out of reach
