"""One analysis of a run: its folder, the models it still has to observe, and its result."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prosafeprune.analysis.analysis_folder import AnalysisFolder
from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.catalogue import CatalogueEntry
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.result import AnalysisResult
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.requests.analyze import AnalyzeRequest

Role = Literal["before", "after"]
"""The base model or the pruned model."""


@dataclass(frozen=True)
class FinishedAnalysis:
    """One finished analysis."""

    entry: CatalogueEntry
    result: AnalysisResult
    folder: Path


class AnalysisTask:
    """One analysis with its folder.

    Raises:
        InputError: the folder belongs to other models, prompts or settings.
    """

    def __init__(
        self,
        entry: CatalogueEntry,
        analysis: Analysis,
        request: AnalyzeRequest,
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

    def needs(self, role: Role) -> bool:
        """Return whether a model must still be observed."""
        return role in self.roles and self.folder.result() is None and self.folder.observation(role) is None

    def observe(self, context: Context, role: Role) -> None:
        """Observe a model, save the observation, and conclude if no other model is left."""
        self.folder.save_observation(role, self.analysis.observe(context, self.folder.observation("before")))
        if not any(self.needs(other) for other in self.roles):
            self.conclude()

    def conclude(self) -> FinishedAnalysis:
        """Return the saved result, or compute it from the observations; draw the figures that are missing."""
        result = self.folder.result()
        if result is None:
            before = self.folder.observation("before")
            assert before is not None
            after = self.folder.observation("after") if "after" in self.roles else None
            result = self.analysis.conclude(self.request, before, after)
            self.folder.save_result(result, self.request)
        self.folder.draw_missing(result)
        return FinishedAnalysis(self.entry, result, self.folder.path)
