"""Tables of C.R., S.S. and T.S. from outcomes prompt by prompt, with intervals and changes from the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prosafeprune.analysis.result import Cell, Table, make_table
from prosafeprune.evaluation.scores import change, rate
from prosafeprune.prompts import PromptClass

MEASURES = {PromptClass.PSEUDO_HARMFUL: "C.R.", PromptClass.HARMFUL: "S.S."}
WIDE = ("C.R.", "change of C.R.", "p of C.R.", "S.S.", "change of S.S.", "p of S.S.", "T.S.", "done")
LONG = ("value", "measure", "percent", "low", "high", "prompts")


def rates_table(
    name: str, title: str, axis: str, labels: Sequence[str], done: Sequence[str], outcomes: Mapping[str, np.ndarray]
) -> Table:
    """Return a row for each step: rates in percent, changes from the first step in points, McNemar's p-values.

    Args:
        name: of the table.
        title: of the table.
        axis: heading of the labels.
        labels: of the steps; the first is the source.
        done: what was done to the model at each step.
        outcomes: by prompt class ``(steps, prompts)``, whether each answer was as wished.
    """
    rows = []
    for step, label in enumerate(labels):
        cells: list[Cell] = [label]
        rates = []
        for prompt_class in MEASURES:
            before, after = _flags(outcomes, prompt_class, 0), _flags(outcomes, prompt_class, step)
            changed = change(before, after)
            rates.append(rate(sum(after), len(after)).percent)
            cells += [rates[-1], changed.points, changed.p_value]
        rows.append([*cells, sum(rates) / len(rates), done[step]])
    return make_table(name, title, (axis, *WIDE), rows)


def long_rates_table(
    name: str, title: str, axis: str, labels: Sequence[str], values: Sequence[float], outcomes: Mapping[str, np.ndarray]
) -> Table:
    """Return a row for each step and measure, with 95 % Wilson intervals: what a figure is drawn from.

    T.S. is the mean of two rates and has no interval of that kind; its ends are left empty.
    """
    rows: list[Sequence[Cell]] = []
    for step, label in enumerate(labels):
        place = None if np.isnan(values[step]) else float(values[step])
        rates = {}
        for prompt_class, measure in MEASURES.items():
            flags = _flags(outcomes, prompt_class, step)
            found = rates[measure] = rate(sum(flags), len(flags))
            rows.append((label, place, measure, found.percent, found.low, found.high, found.total))
        middle = sum(found.percent for found in rates.values()) / len(rates)
        rows.append((label, place, "T.S.", middle, None, None, sum(found.total for found in rates.values())))
    return make_table(name, title, (axis, *LONG), rows)


def _flags(outcomes: Mapping[str, np.ndarray], prompt_class: PromptClass, step: int) -> list[bool]:
    return [bool(good) for good in outcomes[prompt_class.value][step]]
