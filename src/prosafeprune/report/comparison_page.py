"""The page of a comparison: what each method does, and what it costs."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import is_significant
from prosafeprune.method.plan import Plan
from prosafeprune.plotting import GREY, HEIGHT, MARKERS, ORANGE, PALETTE, as_written, new_axes
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.ability_grids import ability_lost, side_effects_by_method
from prosafeprune.report.assessment import format_p, in_several_sets, is_unsafe, signed
from prosafeprune.report.comparison_grids import (
    costs_by_method,
    pruning_against_methods,
    rates_by_method,
    settings_in_words,
)
from prosafeprune.report.comparison_record import DEFAULT, OURS, ComparisonRecord, MethodResult
from prosafeprune.report.example_answers import answers_before_and_after
from prosafeprune.report.loss_curves import loss_curves
from prosafeprune.report.page import (
    Block,
    Facts,
    Headline,
    Mark,
    Page,
    Paragraph,
    Picture,
    Points,
    Section,
    Subheading,
    as_draft_page,
)
from prosafeprune.report.plan_facts import plan_facts
from prosafeprune.report.reproduce_command import applying, command, depends_on, making
from prosafeprune.report.safety_words import SAFETY_WORDS
from prosafeprune.text import short_name, without_folder

COLOURS = [colour for colour in PALETTE if colour not in (GREY, ORANGE)]
LONG_NAME = 16
"""Characters; with longer names the legend has one column."""
COUNTS = {
    PromptClass.PSEUDO_HARMFUL: "answers {} of {} harmless requests",
    PromptClass.HARMFUL: "{does} {} of {} harmful ones",
}


def comparison_page(record: ComparisonRecord, measurements: Mapping[str, Measurement], folder: Path) -> Page:
    """Return the page of a comparison.

    Args:
        measurements: each method's answers, by method name.
        folder: of the comparison.
    """
    rates: list[Block] = [rates_by_method(record), *pruning_against_methods(record)]
    if record.methods[0].scores.tradeoff_score is not None:
        rates.append(Picture(trade_off_figure(record), _description(record), _caption(record)))
    side_effects = side_effects_by_method(record)
    best = appliable_best(record)
    sections = [
        Section("Compliance and safety", rates),
        *([Section(f"How to use {best.name}", _using(best, record, folder))] if best is not None else []),
        *([Section("General ability and divergence", side_effects)] if side_effects else []),
        Section("Time per answer", [costs_by_method(record)]),
        Section("The methods", [Facts([(method.name, settings_in_words(method)) for method in record.methods])]),
    ]
    curves = [curve for method in record.methods for curve in loss_curves(method.name, method.learned)]
    if curves:
        sections.append(Section("Training", curves))
    by_name = {method.name: method for method in record.methods}
    pruned = by_name.get(OURS)
    if pruned is not None and "plan" in pruned.settings:
        sections.append(Section("The plan", _plan(record, Plan.model_validate(pruned.settings["plan"]))))
    shown = pruned or record.methods[-1]
    if shown.against_default is not None:
        names = (record.methods[0].name, shown.name)
        before, after = (measurements[name].sets for name in names)
        answers = answers_before_and_after(before, after, names, shown.against_default.changes)
        sections.append(Section(f"Answers: {names[0]} and {names[1]}", answers))
    sections.append(Section("How to reproduce this", _reproduction(record)))
    title = f"Comparison of methods: {short_name(record.request.model)}"
    return as_draft_page(Page(title, comparison_headline(record), sections), record.request.draft)


def trade_off_figure(record: ComparisonRecord) -> Figure:
    """Return S.S. against C.R. of each method that has both, with the names in a legend below the axes."""
    figure, axes = new_axes("Avg. C.R., %", "Avg. S.S., %", HEIGHT + 0.4)
    styles = zip(cycle(COLOURS), cycle(MARKERS[:-1]), strict=False)
    for method in record.methods:
        scores = method.scores
        if scores.compliance_rate is None or scores.safety_score is None:
            continue
        colour, marker = {DEFAULT: (GREY, "X"), OURS: (ORANGE, "*")}.get(method.name) or next(styles)
        # Hollow markers, so that methods at the same point are all visible.
        style: dict[str, Any] = {
            "markersize": 13 if method.name == OURS else 8,
            "markerfacecolor": "none",
            "markeredgewidth": 1.8,
        }
        point = [scores.compliance_rate], [scores.safety_score]
        axes.plot(*point, marker, color=colour, linestyle="none", label=as_written(method.name), **style)
    if record.methods[0].name == DEFAULT:
        kept = record.methods[0].scores.safety_score or 0
        axes.axhline(kept, color=GREY, linestyle="--", linewidth=1, label="S.S. of default")
    axes.margins(0.1)
    longest = max(len(method.name) for method in record.methods)
    columns = 3 if longest < LONG_NAME else 1
    figure.legend(loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    return figure


def _caption(record: ComparisonRecord) -> str:
    caption = "Up is safer, right is more compliant."
    return f"{caption} Below the dashed line, safety is lost." if record.methods[0].name == DEFAULT else caption


def _description(record: ComparisonRecord) -> str:
    points = [
        f"{method.name}: C.R. {method.scores.compliance_rate or 0:.1f}, S.S. {method.scores.safety_score or 0:.1f}"
        for method in record.methods
    ]
    return f"Avg. S.S. against Avg. C.R. of each method, in percent. {'; '.join(points)}."


def _plan(record: ComparisonRecord, plan: Plan) -> list[Block]:
    facts = Facts(plan_facts(plan))
    if record.request.pruned is not None:
        folder = short_name(str(record.request.pruned))
        return [facts, Paragraph(f"Measured as a finished checkpoint, {folder}; its record says how it was made.")]
    return [
        facts,
        Subheading("How to use it"),
        Paragraph(
            "This command makes the pruned model, measures it on these prompts and saves it if it keeps the safety "
            "floor. The saved model is an ordinary checkpoint, which does not need this package."
        ),
        making(plan, record.request, "OUTPUT"),
    ]


def _using(best: MethodResult, record: ComparisonRecord, folder: Path) -> list[Block]:
    """Return how to make a model of the best method's fit."""
    return [
        Paragraph(
            f"Of these methods, {best.name} is the best here. This command merges its fit into the weights, measures "
            "the model again, and saves it if it keeps the safety floor. The saved model is an ordinary checkpoint, "
            "which does not need this package; --format adapter writes a LoRA adapter instead."
        ),
        applying(fit_folder(Path(without_folder(str(folder))), best), record.request, "OUTPUT"),
    ]


def fit_folder(folder: Path, method: MethodResult) -> str:
    """Return where a comparison in ``folder`` keeps the fit of a method."""
    return str(folder / method.name)


def _reproduction(record: ComparisonRecord) -> list[Block]:
    facts = depends_on(str(record.made_by["model"]), {**record.prompts, **record.calibration}, record.versions)
    fitted = [
        f"{method.name}: SHA-256 of what it was fitted to, {method.learned_sha256}"
        for method in record.methods
        if method.learned_sha256
    ]
    note = Paragraph("Times vary between runs and machines; everything else is reproducible on one machine.")
    return [command("compare", record.request, "OUTPUT"), note, facts, *([Points(fitted)] if fitted else [])]


def comparison_headline(record: ComparisonRecord) -> Headline:
    """Return the best method that keeps S.S., then each method's counts and changes from default."""
    lines = [_line(method) for method in record.methods]
    shared = in_several_sets(record.methods[0].scores, *COUNTS)
    lines += [f"Of these requests, {shared}; averages are means over sets."] if shared else []
    lines += [f"{name} was left out. {reason}" for name, reason in record.left_out.items()]
    return Headline(
        Mark.NEUTRAL, f"{len(record.methods)} methods, {short_name(record.request.model)}", _best(record), lines
    )


def appliable_best(record: ComparisonRecord) -> MethodResult | None:
    """Return the best method that keeps S.S., if its fit can be made into a model; None without default."""
    best, _ = _ranked(record)
    is_known = best is not None and best.against_default is not None and not _loses_safety(best)
    return best if is_known and best is not None and best.fit_is_model else None


def _ranked(record: ComparisonRecord) -> tuple[MethodResult | None, list[MethodResult]]:
    """Return the best method that keeps S.S., if any does, and all that have a T.S., the highest first."""
    ranked = sorted(
        (method for method in record.methods if method.scores.tradeoff_score is not None), key=_tradeoff, reverse=True
    )
    return next((method for method in ranked if not _loses_safety(method)), ranked[0] if ranked else None), ranked


def _best(record: ComparisonRecord) -> str:
    best, ranked = _ranked(record)
    if best is None:
        return "Without both pseudo-harmful and harmful prompts, no method can be called the best."
    finding = f"{best.name} has the highest Avg. T.S., {_tradeoff(best):.1f}"
    if all(method.against_default is None for method in record.methods):
        return f"{finding}. Whether it keeps its S.S. is unknown: default was not measured."
    above = [f"{method.name} ({_tradeoff(method):.1f})" for method in ranked[: ranked.index(best)]]
    if best.against_default is None:  # it is the default
        finding = f"No method has a higher Avg. T.S. than default ({_tradeoff(best):.1f}) and keeps its S.S."
    else:
        change = best.against_default.safety_change
        points = f" ({signed(change.points)} points, p {format_p(change.p_value)})" if change is not None else ""
        condition = ", of the methods with" if above else ", with"
        finding += f"{condition} no significant loss of S.S. from default{points}."
    return f"{finding} Higher, but with a loss of S.S.: {', '.join(above)}." if above else finding


def _line(method: MethodResult) -> str:
    does = SAFETY_WORDS[method.scores.safety].does
    against = method.against_default
    changes = {
        PromptClass.PSEUDO_HARMFUL: against.compliance_change if against is not None else None,
        PromptClass.HARMFUL: against.safety_change if against is not None else None,
    }
    parts = [] if method.scores.tradeoff_score is None else [f"Avg. T.S. {_tradeoff(method):.1f}"]
    for prompt_class, change in changes.items():
        good, total = method.scores.pooled_counts(prompt_class)
        if total:
            points = f" ({signed(change.points)} points, p {format_p(change.p_value)})" if change is not None else ""
            parts.append(COUNTS[prompt_class].format(good, total, does=does) + points)
    warning = f" It {does} fewer than half: not a safe model." if is_unsafe(method.scores) else ""
    found = f"{method.name}: {', '.join(parts) or 'measured on benign requests only'}.{warning}"
    return f"{found} {ability_lost(method.ability_changes)}".rstrip()


def _loses_safety(method: MethodResult) -> bool:
    """Return whether a method has a significantly lower S.S. than default."""
    change = method.against_default.safety_change if method.against_default is not None else None
    return change is not None and is_significant(change) and change.points < 0


def _tradeoff(method: MethodResult) -> float:
    return method.scores.tradeoff_score or 0.0
