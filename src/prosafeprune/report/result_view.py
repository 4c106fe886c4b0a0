"""Results in Python: one line in a terminal, tables in a notebook, rows for pandas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from prosafeprune.evaluation.scores import Change, Scores
from prosafeprune.report.grid import Grid
from prosafeprune.report.rate_figure import scores_figure
from prosafeprune.text import printable

if TYPE_CHECKING:
    import pandas

    from prosafeprune.report.record import Record  # which imports torch


class ResultView(ABC):
    """A result of a command, with a short ``repr``, tables in notebooks, ``to_pandas()`` and ``plot()``."""

    @abstractmethod
    def summary(self) -> str:
        """Return the result in a few words."""

    @abstractmethod
    def grids(self) -> Sequence[Grid]:
        """Return the tables that the command prints."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """Return the figures, one row for each set, method, point or answer."""

    @abstractmethod
    def plot(self) -> Figure:
        """Return a matplotlib figure of the result; notebooks show it."""

    def to_pandas(self) -> pandas.DataFrame:
        """Return :meth:`rows` as a data frame."""
        import pandas

        return pandas.DataFrame(self.rows())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary()}>"

    def _repr_html_(self) -> str:
        return "".join(map(grid_html, self.grids()))


class ChangeView(ResultView):
    """A pruned model measured before and after: its record, and the folder written, if any."""

    record: Record
    output: Path | None

    def summary(self) -> str:
        """Return C.R. and S.S. before and after, and the folder written."""
        where = f"in {self.output}" if self.output is not None else "not written"
        return f"{change_in_words(self.record.source, self.record.result)}, {where}"

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each set, before and after."""
        return change_rows(self.record.source, self.record.result, self.record.changes)

    def plot(self) -> Figure:
        """Return the rate of each set before and after, with intervals."""
        return scores_figure(self.record.result, self.record.source, self.record.changed_model)


def grid_html(grid: Grid) -> str:
    """Return a table as HTML for notebooks; all its texts are escaped."""

    def cell(tag: str, text: str) -> str:
        return f"<{tag}>{escape(printable(text)).replace(chr(10), '<br>')}</{tag}>"

    head = "".join(cell("th", heading) for heading in grid.headings)
    body = "".join(f"<tr>{''.join(cell('td', text) for text in row)}</tr>" for row in grid.rows)
    notes = "".join(f"<p>{escape(printable(note))}</p>" for note in grid.notes)
    caption = f"<caption>{escape(printable(grid.caption))}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


def rates_in_words(scores: Scores) -> str:
    """Return C.R. and S.S. in a few words."""
    named = (("C.R.", scores.compliance_rate), ("S.S.", scores.safety_score))
    return ", ".join(f"{name} {value:.1f}" for name, value in named if value is not None) or "no rate"


def change_in_words(before: Scores, after: Scores) -> str:
    """Return how C.R. and S.S. changed, in a few words."""
    named = (("C.R.", before.compliance_rate, after.compliance_rate), ("S.S.", before.safety_score, after.safety_score))
    known = [f"{name} {was:.1f} to {now:.1f}" for name, was, now in named if was is not None and now is not None]
    return ", ".join(known) or "no rate"


def rate_rows(scores: Scores) -> list[dict[str, Any]]:
    """Return a row for each set: its class, number of prompts, and rate in percent with its 95 % interval."""
    return [
        {
            "set": score.name,
            "class": score.prompt_class.value,
            "prompts": score.rate.total,
            "rate": score.rate.percent,
            "low": score.rate.low,
            "high": score.rate.high,
        }
        for score in scores.sets
    ]


def change_rows(before: Scores, after: Scores, changes: Mapping[str, Change]) -> list[dict[str, Any]]:
    """Return a row for each set: its rate before and after, and the change in points with its 95 % interval."""
    was = {score.name: score.rate.percent for score in before.sets}
    return [
        {
            "set": score.name,
            "class": score.prompt_class.value,
            "prompts": score.rate.total,
            "before": was[score.name],
            "after": score.rate.percent,
            "change": changes[score.name].points,
            "low": changes[score.name].low,
            "high": changes[score.name].high,
            "p_value": changes[score.name].p_value,
        }
        for score in after.sets
    ]
