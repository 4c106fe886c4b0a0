"""One analysis of a run: its folder, the models it still has to observe, and its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from prosafeprune.analysis.analysis_folder import AnalysisFolder
from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.catalogue import CatalogueEntry
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.figure_drawing import plot
from prosafeprune.analysis.plan_lookup import find_plan
from prosafeprune.analysis.result import AnalysisResult, Figure, ResultTable, result_grid
from prosafeprune.errors import InputError
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.report.grid import Grid
from prosafeprune.report.result_view import ResultView
from prosafeprune.requests.analyze import AnalyzeRequest

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

Role = Literal["before", "after"]
"""The base model or the pruned model."""


@dataclass(frozen=True, repr=False)
class FinishedAnalysis(ResultView):
    """One finished analysis: its tables as rows and data frames, its figures as matplotlib's."""

    entry: CatalogueEntry
    result: AnalysisResult
    folder: Path

    def summary(self) -> str:
        """Return its name, the names of its tables and figures, and its folder."""
        tables, figures = ([item.name for item in named] for named in (self.result.tables, self.result.figures))
        return (
            f"{self.entry.name}, tables {', '.join(tables)}, figures {', '.join(figures) or 'none'}, in {self.folder}"
        )

    def grids(self) -> Sequence[Grid]:
        """Return its first table, which is short."""
        return [result_grid(self.result.tables[0], self.entry.title)]

    def rows(self, table: str = "") -> list[dict[str, Any]]:
        """Return the rows of a table; by default, of the first. Raises InputError when there is none of that name."""
        found = _named(table, self.result.tables, f"{self.entry.name}: table")
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]

    def to_pandas(self, table: str = "") -> pandas.DataFrame:
        """Return :meth:`rows` as a data frame. Raises InputError when there is no table of that name."""
        import pandas

        return pandas.DataFrame(self.rows(table))

    def plot(self, figure: str = "") -> matplotlib.figure.Figure:
        """Return a figure; by default, the first. Raises InputError when there is none of that name."""
        found = _named(figure, self.result.figures, f"{self.entry.name}: figure")
        return plot(found, self.result.table(found.table))


Named = TypeVar("Named", ResultTable, Figure)


def _named(name: str, known: Sequence[Named], what: str) -> Named:
    found = [item for item in known if name in ("", item.name)]
    if not found:
        names = ", ".join(item.name for item in known)
        raise InputError(f"{what} {name!r}: there is none. There are {names or 'none'}.")
    return found[0]


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
        judge: str | None,
    ) -> None:
        """Open the folder; ``judge`` is the name of the judge, if answers are judged."""
        self.entry, self.analysis, self.request = entry, analysis, request
        self.roles: list[Role] = [role for role in models if role == "before" or analysis.compares]
        after = models["after"] if "after" in self.roles else None
        made_by = {
            **models["before"].made_by(),
            "against": after.subject.sha256 if after is not None else None,
            "against_companions": after.made_by()["companions"] if after is not None else None,
            **prompts.hashes(analysis.splits(request)),
            **request.model_dump(
                mode="json", include={"pooling", "seed", "batch_size", *analysis.settings} - {"against"}
            ),
            **analysis.further_inputs(request, prompts),
        }
        if analysis.judges_answers(request):  # settings do not say which model a server has, or the judge's version
            made_by["judged_by"] = judge
        if "against" in analysis.settings:  # the plan that it was pruned with, which its path does not identify
            plan = find_plan(request)
            made_by["plan"] = None if plan is None else plan.model_dump(mode="json")
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
