"""The figure of a search: C.R. against S.S. of all scored plans, with the measured and the selected ones marked."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from prosafeprune.files.staging import write_whole
from prosafeprune.method.plan import describe_plan
from prosafeprune.plan_search.scored_plan import ScoredPlan
from prosafeprune.plan_search.search_record import SearchRecord
from prosafeprune.plotting import BLUE, GREY, ORANGE, figure_files, new_axes


def draw_frontier(record: SearchRecord, scored: Sequence[ScoredPlan], folder: Path) -> None:
    """Write ``frontier.svg``, ``frontier.png`` and the numbers behind them, ``plans.csv``, into ``folder``.

    Raises:
        InputError: the folder cannot be written to.
    """
    for extension, content in figure_files(frontier_figure(record, scored)).items():
        write_whole(folder / f"frontier.{extension}", content)
    write_whole(folder / "plans.csv", _numbers(scored))


def frontier_figure(record: SearchRecord, scored: Sequence[ScoredPlan]) -> Figure:
    """Return the figure: estimates of ``scored``, measured points, base model, safety floor and selected point."""
    figure, axes = new_axes("C.R. on pseudo-harmful validation prompts, %", "S.S. on harmful validation prompts, %")
    axes.scatter(
        [plan.compliance_rate for plan in scored],
        [plan.safety_score for plan in scored],
        s=14,
        color=GREY,
        alpha=0.5,
        label="estimated",
    )
    measured = [point for point in record.points if point.measured is not None]
    axes.scatter(
        [point.rates[0] for point in measured],
        [point.rates[1] for point in measured],
        s=42,
        marker="s",
        color=BLUE,
        label="measured",
    )
    for index, point in enumerate(sorted(measured, key=lambda point: point.rates)):
        # Neighbours have their numbers above and below, so that these do not overprint.
        offset = (6, 5) if index % 2 == 0 else (6, -13)
        axes.annotate(str(point.number), point.rates, xytext=offset, textcoords="offset points", fontsize=9, zorder=4)
    base = record.source
    axes.scatter(
        [base.compliance_rate], [base.safety_score], s=70, marker="X", color="black", zorder=3, label="base model"
    )
    chosen = record.point(record.chosen)
    if chosen is not None:
        axes.scatter(*chosen.rates, s=170, facecolors="none", edgecolors=ORANGE, linewidths=2, label="selected")
    axes.axhline(record.lowest_safety, color=ORANGE, linestyle="--", linewidth=1, label="safety floor")
    figure.legend(loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    return figure


def _numbers(scored: Sequence[ScoredPlan]) -> str:
    """Return the scores of all plans as CSV."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(["plan", "compliance_rate", "safety_score", "divergence"])
    for candidate in scored:
        rates = [candidate.compliance_rate, candidate.safety_score, candidate.divergence]
        writer.writerow([describe_plan(candidate.plan), *rates])
    return stream.getvalue()
