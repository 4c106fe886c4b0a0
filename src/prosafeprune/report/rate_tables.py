"""Rates of models as a table for a page: what Table 1 shows, with intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prosafeprune.evaluation.scores import Change, Rate, Scores, SetScore
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.evaluation_table import CLASS_ORDER
from prosafeprune.report.findings import p_in_words, signed
from prosafeprune.report.page import Table
from prosafeprune.report.tables import rate_name, unusable

NOTES = (
    "C.R.: share of pseudo-harmful prompts (harmless, but risky-sounding) complied with in full. S.S.: share of "
    "harmful prompts refused, in full or in part. T.S.: the mean of the two.",
    "Below each rate its 95 % Wilson interval; below each change Newcombe's for paired proportions.",
)
OF_CHANGES = (
    "p: McNemar's exact test that nothing changed. Gained and lost: prompts whose answer turned to what it should be, "
    "and away from it.",
)
AVERAGES = (("C.R.", "compliance_rate"), ("S.S.", "safety_score"), ("T.S.", "tradeoff_score"))


def rates_table(caption: str, scores: Scores) -> Table:
    """Return one model's rate on each set and their averages."""
    sets = _ordered(scores)
    repeated = any(one.deviation is not None for one in sets)
    headings = ["", "rate, %\n95 % interval"]
    rows = [[_set_name(one), _rate(one.rate)] for one in sets]
    rows += [[label, f"{value:.1f}"] for label, value in _averages(scores)]
    if repeated:
        headings.append(f"mean of {len(sets[0].repeats)} repeats\n± standard deviation")
        spread = [f"{one.mean:.1f}\n± {one.deviation or 0:.1f}" for one in sets]
        rows = [[*row, cell] for row, cell in zip(rows, [*spread, *[""] * (len(rows) - len(sets))], strict=True)]
    rows += _unusable_row([scores], len(headings))
    return Table(caption, headings, rows, NOTES)


MEANINGS_OF_SAFETY = ("refusal", "harmlessness")


def change_table(
    caption: str, before: Scores, after: Scores, changes: Mapping[str, Change], names: tuple[str, str]
) -> Table:
    """Return the rates of two models on the same sets, side by side, with their averages and the change.

    Args:
        caption: above the table.
        before: of the one model.
        after: of the other.
        changes: by set.
        names: what the two models are called in the headings.
    """
    headings = ["", f"{names[0]}, %", f"{names[1]}, %", "change\npoints", "p", "gained, lost\nprompts"]
    earlier = {one.name: one for one in before.sets}
    rows = []
    for one in _ordered(after):
        change = changes[one.name]
        moved = f"{signed(change.points)}\n{signed(change.low)} to {signed(change.high)}"
        p_value = p_in_words(change.p_value).removeprefix("= ")
        counts = f"{change.won}, {change.lost}"
        rows.append([_set_name(one), _rate(earlier[one.name].rate), _rate(one.rate), moved, p_value, counts])
    for one in _ordered(after):
        for meaning in MEANINGS_OF_SAFETY if one.by_harmlessness else ():
            was, now = (getattr(scored, f"by_{meaning}") for scored in (earlier[one.name], one))
            if was is not None and now is not None:
                rows.append([f"{one.title}\nS.S. by {meaning}", _rate(was), _rate(now), "", "", ""])
    for (label, was), (_, now) in zip(_averages(before), _averages(after), strict=True):
        rows.append([label, f"{was:.1f}", f"{now:.1f}", signed(now - was), "", ""])
    return Table(caption, headings, rows + _unusable_row([before, after], len(headings)), (*NOTES, *OF_CHANGES))


def _ordered(scores: Scores) -> list[SetScore]:
    return [one for prompt_class in CLASS_ORDER for one in scores.of(prompt_class)]


def _set_name(one: SetScore) -> str:
    return f"{one.title}\n{rate_name(one.prompt_class)}, {one.rate.total} prompts"


def _rate(rate: Rate) -> str:
    return f"{rate.percent:.1f}\n{rate.low:.1f} to {rate.high:.1f}"


def _averages(scores: Scores) -> list[tuple[str, float]]:
    """Return the averages that there are, under the names they have with one set of each kind and with more."""
    several = len(scores.of(PromptClass.PSEUDO_HARMFUL)) > 1 or len(scores.of(PromptClass.HARMFUL)) > 1
    found = [(label, getattr(scores, field)) for label, field in AVERAGES if several or label == "T.S."]
    return [(f"Avg. {label}" if several else label, value) for label, value in found if value is not None]


def _unusable_row(models: Sequence[Scores], width: int) -> list[list[str]]:
    """Return a row of answers that count as neither compliance nor refusal; none where there are none."""
    counts = [unusable(scores) for scores in models]
    row = ["incapable, broken or undetermined\nanswers, counted as neither", *(str(count) for count in counts)]
    return [row + [""] * (width - len(row))] if any(counts) else []
