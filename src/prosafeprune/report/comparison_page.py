"""The page of a comparison: what each way of answering does, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.evaluation.earlier_evaluation import EvaluationComparison
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import Change, SetScore
from prosafeprune.method.plan import Plan
from prosafeprune.plotting import GREY, HEIGHT, MARKERS, ORANGE, PALETTE, as_written, new_figure
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.comparison_headline import comparison_headline
from prosafeprune.report.comparison_record import ComparisonRecord
from prosafeprune.report.comparison_table import settings_in_words
from prosafeprune.report.evaluation_table import ordered, rates, set_headings
from prosafeprune.report.example_answers import answers_before_and_after
from prosafeprune.report.findings import p_in_words, short_name, signed
from prosafeprune.report.page import Block, Facts, Page, Paragraph, Picture, Points, Section, Subheading, Table
from prosafeprune.report.plan_facts import plan_facts
from prosafeprune.report.reproduce_command import command, depends_on, making

OURS = "prosafeprune"
COLOURS = [colour for colour in PALETTE if colour not in (GREY, ORANGE)]
NOTES = (
    "C.R.: fully complies with pseudo-harmful prompts. S.S.: refuses harmful ones. Avg. T.S.: the mean of the two.",
    "Broken and undetermined answers count as neither.",
    "Below each rate: its 95 % interval; its change from default, with McNemar's exact p on the same prompts.",
)


def comparison_page(record: ComparisonRecord, measurements: Mapping[str, Measurement]) -> Page:
    """Return the page of a comparison; ``measurements`` has each method's answers, by its name."""
    rates_blocks: list[Block] = [_rates(record), *_beside_pruning(record)]
    if record.methods[0].scores.tradeoff_score is not None:
        rates_blocks.append(Picture(trade_off_figure(record), _described(record), _caption(record)))
    sections = [
        Section("Compliance and safety", rates_blocks),
        Section("What answering took", [_costs(record)]),
        Section("The methods", [Facts([(one.name, settings_in_words(one)) for one in record.methods])]),
    ]
    by_name = {one.name: one for one in record.methods}
    pruned = by_name.get(OURS)
    if pruned is not None and "plan" in pruned.settings:
        sections.append(Section("The plan", _plan(record, Plan.model_validate(pruned.settings["plan"]))))
    shown = pruned or record.methods[-1]
    if shown.against_default is not None:
        names = (record.methods[0].name, shown.name)
        before, after = (measurements[name].sets for name in names)
        answers = answers_before_and_after(before, after, names, shown.against_default.changes)
        sections.append(Section(f"Answers: {names[0]} and {names[1]}", answers))
    sections.append(Section("Repeating it", _repeating(record)))
    return Page(f"Ways of answering: {short_name(record.request.model)}", comparison_headline(record), sections)


def _pooled(against: EvaluationComparison | None) -> list[tuple[PromptClass, Change]]:
    if against is None:
        return []
    changes = {
        PromptClass.PSEUDO_HARMFUL: against.compliance_change,
        PromptClass.HARMFUL: against.safety_change,
    }
    return [(prompt_class, change) for prompt_class, change in changes.items() if change is not None]


def _rates(record: ComparisonRecord) -> Table:
    headings = ["", *set_headings(record.methods[0].scores)]
    rows = []
    for method in record.methods:
        cells = [_set_cell(one, method.against_default) for one in ordered(method.scores)]
        rows.append([method.name, *cells, *rates(method.scores)[len(cells) :]])
    judged = f"Percent, answers of at most {record.request.max_new_tokens} tokens, judged by {record.judge}"
    return Table(judged, headings, rows, NOTES)


def _set_cell(one: SetScore, against: EvaluationComparison | None) -> str:
    lines = [f"{one.rate.percent:.1f}", f"{one.rate.low:.1f} to {one.rate.high:.1f}"]
    if against is not None:
        change = against.changes[one.name]
        lines.append(f"{signed(change.points)}, p {p_in_words(change.p_value)}")
    return "\n".join(lines)


def _beside_pruning(record: ComparisonRecord) -> list[Block]:
    """Return how the pruned model differs from each other method, on the same prompts."""
    rows = [
        [one.name, *(_change_cell(change) for _, change in _pooled(one.pruning_against))]
        for one in record.methods
        if one.pruning_against is not None
    ]
    if not rows:
        return []
    first = next(one.pruning_against for one in record.methods if one.pruning_against is not None)
    names = {PromptClass.PSEUDO_HARMFUL: "C.R.", PromptClass.HARMFUL: "S.S."}
    headings = ["prosafeprune less", *(names[prompt_class] for prompt_class, _ in _pooled(first))]
    note = "Points over all prompts of a class, 95 % interval, and McNemar's exact p; + means that pruning has more."
    return [Table("The pruned model against each other method", headings, rows, [note])]


def _change_cell(change: Change) -> str:
    ends = f"{signed(change.low)} to {signed(change.high)}"
    return f"{signed(change.points)}\n{ends}, p {p_in_words(change.p_value)}"


def _costs(record: ComparisonRecord) -> Table:
    headings = ["", "seconds\nper answer", "to default", "tokens\nper answer", "ms\nper token", "to default"]
    rows = []
    for method in record.methods:
        cost = method.cost
        ratios = ["" if one is None else f"{one:.2f}" for one in (cost.answer_ratio, cost.token_ratio)]
        each = "" if cost.seconds_per_token is None else f"{1000 * cost.seconds_per_token:.1f}"
        tokens = "" if cost.tokens_per_answer is None else f"{cost.tokens_per_answer:.0f}"
        rows.append([method.name, f"{cost.seconds_per_answer:.2f}", ratios[0], tokens, each, ratios[1]])
    notes = (
        "Answering alone: reading the prompts, decoding, and all a method does besides; not loading, nor fitting.",
        "Methods ran one after the other. One that refuses less writes more: compare it per token.",
    )
    return Table("Time for an answer", headings, rows, notes)


def trade_off_figure(record: ComparisonRecord) -> Figure:
    """Return S.S. against C.R. of each method, as a search's frontier has them; names stand below, out of the way."""
    figure = new_figure(height=HEIGHT + 0.4)
    axes = figure.subplots()
    looks = zip(cycle(COLOURS), cycle(MARKERS[:-1]), strict=False)
    for method in record.methods:
        scores = method.scores
        point = [scores.compliance_rate or 0], [scores.safety_score or 0]
        colour, form = {"default": (GREY, "X"), OURS: (ORANGE, "*")}.get(method.name) or next(looks)
        # Hollow, so that methods at one place are all seen.
        look: dict[str, Any] = {
            "markersize": 13 if method.name == OURS else 8,
            "markerfacecolor": "none",
            "markeredgewidth": 1.8,
        }
        axes.plot(*point, form, color=colour, linestyle="none", label=as_written(method.name), **look)
    if record.methods[0].name == "default":
        kept = record.methods[0].scores.safety_score or 0
        axes.axhline(kept, color=GREY, linestyle="--", linewidth=1, label="S.S. of default")
    axes.set_xlabel("Avg. C.R., %")
    axes.set_ylabel("Avg. S.S., %")
    axes.margins(0.1)
    axes.grid(alpha=0.25)
    longest = max(len(method.name) for method in record.methods)
    figure.legend(loc="outside lower center", ncols=3 if longest < 16 else 1, fontsize=9, frameon=False)
    return figure


def _caption(record: ComparisonRecord) -> str:
    told = "Up is safer, right is more compliant."
    return f"{told} Below the dashed line safety is lost." if record.methods[0].name == "default" else told


def _described(record: ComparisonRecord) -> str:
    points = [
        f"{one.name}: C.R. {one.scores.compliance_rate or 0:.1f}, S.S. {one.scores.safety_score or 0:.1f}"
        for one in record.methods
    ]
    return f"Avg. S.S. against Avg. C.R. of each method, in percent. {'; '.join(points)}."


def _plan(record: ComparisonRecord, plan: Plan) -> list[Block]:
    facts = Facts(plan_facts(plan))
    if record.request.pruned is not None:
        folder = record.request.pruned.name
        return [
            facts,
            Paragraph(f"It was measured as a finished checkpoint, {folder}, whose record tells how it was made."),
        ]
    return [
        facts,
        Subheading("How to use it"),
        Paragraph(
            "This makes the pruned model, measures it on these prompts, and saves it if it keeps the safety floor. It "
            "is an ordinary checkpoint then, which needs this package no longer."
        ),
        making(plan, record.request, "OUTPUT"),
    ]


def _repeating(record: ComparisonRecord) -> list[Block]:
    facts = depends_on(str(record.made_by["model"]), {**record.prompts, **record.calibration}, record.versions)
    learned = [f"{one.name} learned what has the SHA-256 {one.learned_sha256}" for one in record.methods]
    made = [item for item, one in zip(learned, record.methods, strict=True) if one.learned_sha256]
    told = Paragraph("Times differ from run to run and from machine to machine; all else does not, on one machine.")
    return [command("compare", record.request, "OUTPUT"), told, facts, *([Points(made)] if made else [])]
