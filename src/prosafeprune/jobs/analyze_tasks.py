"""One analysis of a run: its folder, what it still has to look at, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.catalogue import Entry
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.folder import AnalysisFolder
from prosafeprune.analysis.result import Findings
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.requests.analyze import AnalysisRequest

Role = Literal["before", "after"]


@dataclass(frozen=True)
class FinishedAnalysis:
    """One analysis that is done."""

    entry: Entry
    findings: Findings
    folder: Path


class AnalysisTask:
    """One analysis with its folder.

    Raises:
        InputError: the folder was made of other things.
    """

    def __init__(
        self,
        entry: Entry,
        analysis: Analysis,
        request: AnalysisRequest,
        prompts: AnalysisPrompts,
        models: Mapping[Role, LocalModel],
        output: Path,
    ) -> None:
        self.entry, self.analysis, self.request = entry, analysis, request
        self.roles: list[Role] = [role for role in models if role == "before" or analysis.compares]
        made_by = {
            **models["before"].made_by(),
            "against": models["after"].subject.sha256 if "after" in self.roles else None,
            **prompts.hashes(analysis.splits(request)),
            **request.model_dump(mode="json", include={"pooling", "seed", "batch_size", *analysis.settings}),
        }
        self.folder = AnalysisFolder(output / entry.name, made_by)

    def wants(self, role: Role) -> bool:
        """Tell whether a model must still be looked at."""
        waits = self.folder.findings() is None and self.folder.observation(role) is None
        return role in self.roles and waits

    def look(self, context: Context, role: Role) -> None:
        """Look at a model, keep what was seen, and conclude if that was all."""
        self.folder.keep_observation(role, self.analysis.observe(context, self.folder.observation("before")))
        if not any(self.wants(other) for other in self.roles):
            self.conclude()

    def conclude(self) -> FinishedAnalysis:
        """Return the findings, made from what was seen unless they are kept, and draw what is missing."""
        findings = self.folder.findings()
        if findings is None:
            before = self.folder.observation("before")
            assert before is not None
            after = self.folder.observation("after") if "after" in self.roles else None
            findings = self.analysis.conclude(self.request, before, after)
            self.folder.keep_findings(findings, self.request)
        self.folder.draw_missing(findings)
        return FinishedAnalysis(self.entry, findings, self.folder.path)
