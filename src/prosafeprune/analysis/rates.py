"""Tables and figures of C.R., S.S. and T.S. from outcomes prompt by prompt: intervals, and changes from the source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prosafeprune.analysis.analysis import Observation
from prosafeprune.analysis.result import BarFigure, Cell, Findings, LineFigure, Table, make_table
from prosafeprune.evaluation.scores import Change, Rate, change, rate
from prosafeprune.prompts import PromptClass

MEASURES = {PromptClass.PSEUDO_HARMFUL: "C.R.", PromptClass.HARMFUL: "S.S."}
PERCENT = "rate (%), 95 % Wilson intervals"


def rates_table(name: str, title: str, step: str, seen: Observation) -> Table:
    """Return a row for each step: rates in percent, changes from the first step in points, McNemar's p-values.

    Args:
        name: of the table.
        title: of the table.
        step: heading of the steps' labels.
        seen: ``labels`` and ``done`` ``(steps,)`` and, by prompt class, ``(steps, prompts)``, whether each answer was
            as wished; the first step is the source.
    """
    headings = [part for measure in MEASURES.values() for part in (measure, f"change of {measure}", f"p of {measure}")]
    rows = []
    for place, label in enumerate(seen["labels"]):
        found = {name: _rate(seen, name, place) for name in MEASURES}
        cells: list[Cell] = [str(label)]
        for prompt_class, one in found.items():
            changed = _change(seen, prompt_class, place)
            cells += [one.percent, changed.points, changed.p_value]
        rows.append([*cells, _tradeoff(list(found.values())), str(seen["done"][place])])
    return make_table(name, title, (step, *headings, "T.S.", "done"), rows)


def rates_long(name: str, title: str, step: str, seen: Observation) -> Table:
    """Return a row for each step and measure, with 95 % Wilson intervals: what a figure is drawn from.

    A step's place on the axis is ``value``. T.S., a mean of two rates, has no interval of that kind.
    """
    rows: list[Sequence[Cell]] = []
    for place, label in enumerate(seen["labels"]):
        value = float(seen["values"][place])
        step_cells = (str(label), None if np.isnan(value) else value)
        found = {measure: _rate(seen, prompt_class, place) for prompt_class, measure in MEASURES.items()}
        rows += [(*step_cells, measure, one.percent, one.low, one.high, one.total) for measure, one in found.items()]
        middle = _tradeoff(list(found.values()))
        rows.append((*step_cells, "T.S.", middle, None, None, sum(one.total for one in found.values())))
    return make_table(name, title, (step, "value", "measure", "percent", "low", "high", "prompts"), rows)


def rates_figure(name: str, title: str, table: str, step: str, *, has_axis: bool) -> LineFigure | BarFigure:
    """Return the figure of a table by :func:`rates_long`: lines where steps stand at numbers, else bars."""
    shared = {
        "name": name,
        "title": title,
        "table": table,
        "y": "percent",
        "by": "measure",
        "low": "low",
        "high": "high",
        "x_label": step,
        "y_label": PERCENT,
    }
    if has_axis:
        return LineFigure.model_validate({"x": "value", **shared})
    return BarFigure.model_validate({"x": step, **shared})


def tells_rates(findings: Findings) -> bool:
    """Tell whether there are rates among the findings, so that a judge has read answers."""
    return any(set(MEASURES.values()) <= set(table.columns) for table in findings.tables)


def _rate(seen: Observation, prompt_class: PromptClass, place: int) -> Rate:
    flags = seen[prompt_class.value][place]
    return rate(int(flags.sum()), len(flags))


def _change(seen: Observation, prompt_class: PromptClass, place: int) -> Change:
    before, after = seen[prompt_class.value][0], seen[prompt_class.value][place]
    return change(before.tolist(), after.tolist())


def _tradeoff(rates: Sequence[Rate]) -> float:
    """Return T.S., the mean of C.R. and S.S."""
    return sum(one.percent for one in rates) / len(rates)
