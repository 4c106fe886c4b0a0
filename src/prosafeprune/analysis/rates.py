"""Tables and figures of C.R., S.S. and T.S. from outcomes prompt by prompt: intervals, and changes from the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prosafeprune.analysis.base import Observation
from prosafeprune.analysis.result import BarFigure, Cell, Findings, LineFigure, Table, make_table
from prosafeprune.analysis.run_sweep import set_key
from prosafeprune.evaluation.intervals import mcnemar_p_value
from prosafeprune.evaluation.scores import Rate, rate
from prosafeprune.prompts import PromptClass

MEASURES = {PromptClass.PSEUDO_HARMFUL: "C.R.", PromptClass.HARMFUL: "S.S."}
PERCENT = "rate (%), 95 % Wilson intervals"
NOTEWORTHY = 0.05


@dataclass(frozen=True)
class StepRates:
    """What one step does to the prompts of one class."""

    sets: dict[str, Rate]
    """By set."""
    points: float
    """Change of ``percent`` from the first step."""
    p_value: float
    """McNemar's, over the prompts of all sets."""

    @property
    def percent(self) -> float:
        """The mean over the sets, as in Table 1."""
        return sum(one.percent for one in self.sets.values()) / len(self.sets)

    @property
    def only(self) -> Rate | None:
        """The rate where there is one set; a mean of several has no interval of Wilson's."""
        return next(iter(self.sets.values())) if len(self.sets) == 1 else None

    @property
    def total(self) -> int:
        """How many prompts there are."""
        return sum(one.total for one in self.sets.values())


def step_rates(seen: Observation, prompt_class: PromptClass, place: int) -> StepRates:
    """Return what a step does to the prompts of a class.

    Args:
        seen: by prompt class ``(steps, prompts)``, whether each answer was as wished, the first step being the source,
            and under :func:`set_key` the set of each prompt.
        prompt_class: whose prompts.
        place: of the step.
    """
    source, now = seen[prompt_class.value][0], seen[prompt_class.value][place]
    sets = seen[set_key(prompt_class)]
    names = list(dict.fromkeys(map(str, sets)))
    of_set = {name: rate(int(now[sets == name].sum()), int((sets == name).sum())) for name in names}
    changes = [100 * (now[sets == name].mean() - source[sets == name].mean()) for name in names]
    return StepRates(of_set, float(np.mean(changes)), mcnemar_p_value(source.tolist(), now.tolist()))


def rates_table(name: str, title: str, step: str, seen: Observation) -> Table:
    """Return a row for each step: rates in percent, changes from the first step in points, McNemar's p-values.

    Args:
        name: of the table.
        title: of the table.
        step: heading of the steps' labels.
        seen: ``labels`` and ``done`` ``(steps,)`` and the outcomes, as :func:`step_rates` takes them.
    """
    headings = [part for measure in MEASURES.values() for part in (measure, f"change of {measure}", f"p of {measure}")]
    rows: list[Sequence[Cell]] = []
    for place, label in enumerate(seen["labels"]):
        found = [step_rates(seen, prompt_class, place) for prompt_class in MEASURES]
        cells: list[Cell] = [cell for one in found for cell in (one.percent, one.points, one.p_value)]
        rows.append([str(label), *cells, _tradeoff(found), str(seen["done"][place])])
    return make_table(name, title, (step, *headings, "T.S.", "done"), rows)


def rates_long(name: str, title: str, step: str, seen: Observation) -> Table:
    """Return a row for each step and measure, and for each set where a class has several.

    This is what a figure is drawn from. Rates of one set have 95 % Wilson intervals; means of several sets, and T.S., a
    mean of two rates, have none of that kind. A step's place on the axis is ``value``.
    """
    rows: list[Sequence[Cell]] = []
    for place, label in enumerate(seen["labels"]):
        value = float(seen["values"][place])
        step_cells = (str(label), None if np.isnan(value) else value)
        found = {measure: step_rates(seen, prompt_class, place) for prompt_class, measure in MEASURES.items()}
        for measure, one in found.items():
            ends = (one.only.low, one.only.high) if one.only is not None else (None, None)
            rows.append((*step_cells, measure, one.percent, *ends, one.total))
            if one.only is None:
                rows += [
                    (*step_cells, f"{measure}, {title}", each.percent, each.low, each.high, each.total)
                    for title, each in one.sets.items()
                ]
        total = sum(one.total for one in found.values())
        rows.append((*step_cells, "T.S.", _tradeoff(list(found.values())), None, None, total))
    return make_table(name, title, (step, "value", "measure", "percent", "low", "high", "prompts"), rows)


def rates_told(seen: Observation, what: str) -> tuple[str, ...]:
    """Return what the steps of a sweep did, in sentences; ``what`` is that which differs from step to step."""
    labels = [str(one) for one in seen["labels"]]
    compliance, safety = ([step_rates(seen, one, place) for place in range(len(labels))] for one in MEASURES)
    tradeoffs = [_tradeoff(pair) for pair in zip(compliance, safety, strict=True)]
    best = max(range(1, len(labels)), key=tradeoffs.__getitem__)
    equal = [label for label, one in zip(labels[1:], tradeoffs[1:], strict=True) if one == tradeoffs[best]]
    told = [
        f"Of {len(labels) - 1} steps by {what}, {' and '.join(equal)} {'has' if len(equal) == 1 else 'have'} the "
        f"highest T.S., {tradeoffs[best]:.1f} (source {tradeoffs[0]:.1f}): "
        f"C.R. {compliance[0].percent:.0f} to {compliance[best].percent:.0f} (p {compliance[best].p_value:.2g}), "
        f"S.S. {safety[0].percent:.0f} to {safety[best].percent:.0f} (p {safety[best].p_value:.2g})"
        + (f", of {equal[0]}." if len(equal) > 1 else ".")
    ]
    losing = [labels[place] for place, one in enumerate(safety) if one.points < 0 and one.p_value < NOTEWORTHY]
    if losing:
        told.append(f"S.S. falls by more than chance allows (p below {NOTEWORTHY}) at: {', '.join(losing)}.")
    told.append(
        f"{compliance[0].total} pseudo-harmful and {safety[0].total} harmful prompts; each p-value is for one "
        "comparison with the source, so that among many steps some are small by chance."
    )
    return tuple(told)


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


def _tradeoff(rates: Sequence[StepRates]) -> float:
    """Return T.S., the mean of C.R. and S.S."""
    return sum(one.percent for one in rates) / len(rates)
