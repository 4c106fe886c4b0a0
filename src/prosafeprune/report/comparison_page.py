"""The page of a comparison: what each way of answering does, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from prosafeprune.drawing import BLUE, GREY, ORANGE, new_figure
from prosafeprune.evaluation.comparing import Comparison
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import Change, SetScore
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.answers import answers_before_and_after
from prosafeprune.report.comparison_record import ComparisonRecord
from prosafeprune.report.comparison_table import MEANINGS, settings_in_words
from prosafeprune.report.evaluation_table import ordered, rates, set_headings
from prosafeprune.report.page import Block, Facts, Headline, Mark, Page, Paragraph, Picture, Points, Section, Table
from prosafeprune.report.repeating import command, depends_on
from prosafeprune.report.wording import change_sentence, p_in_words, signed, unsafe_sentences


def comparison_page(record: ComparisonRecord, measurements: Mapping[str, Measurement]) -> Page:
    """Return the page of a comparison; ``measurements`` has each method's answers, by its name."""
    rates_blocks: list[Block] = [_rates(record), *_beside_pruning(record)]
    if record.methods[0].scores.tradeoff_score is not None:
        described = "Avg. C.R. against Avg. S.S. of each method; further up and to the right is better."
        rates_blocks.append(Picture(_figure(record), described, described))
    sections = [
        Section("Compliance and safety", rates_blocks),
        Section("What answering took", [_costs(record)]),
        Section("The methods", [Facts([(one.name, settings_in_words(one)) for one in record.methods])]),
    ]
    last = record.methods[-1]
    if last.against_default is not None:
        before, after = (measurements[name].sets for name in (record.methods[0].name, last.name))
        names = (record.methods[0].name, last.name)
        shown = answers_before_and_after(before, after, names, last.against_default.changes)
        sections.append(Section(f"Answers: {names[0]} and {names[1]}", shown))
    sections.append(Section("Repeating it", _repeating(record)))
    return Page(f"Ways of answering: {_model(record)}", _headline(record), sections)


def _headline(record: ComparisonRecord) -> Headline:
    scored = [one for one in record.methods if one.scores.tradeoff_score is not None]
    sentences = [
        f"{one.name}: {change_sentence(record.methods[0].scores, one.scores, prompt_class, change)}"
        for one in record.methods
        for prompt_class, change in _pooled(one.against_default)
    ]
    sentences += [f"{one.name}: {warning}" for one in record.methods for warning in unsafe_sentences(one.scores)]
    sentences += [f"{name} was left out. {reason}" for name, reason in record.left_out.items()]
    ranked = sorted(scored, key=lambda one: one.scores.tradeoff_score or 0, reverse=True)
    told = ", ".join(f"{one.name} {one.scores.tradeoff_score:.1f}" for one in ranked)
    text = f"Avg. T.S. of {_model(record)}, highest first: {told}." if told else f"{_model(record)} was compared."
    return Headline(Mark.NEUTRAL, "Compared", text, sentences)


def _pooled(against: Comparison | None) -> list[tuple[PromptClass, Change]]:
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
    notes = [*MEANINGS.split("\n"), "Below each rate: its 95 % interval; its change from default, with McNemar's p."]
    judged = f"Percent, answers of at most {record.request.max_new_tokens} tokens, judged by {record.judge}"
    return Table(judged, headings, rows, notes)


def _set_cell(one: SetScore, against: Comparison | None) -> str:
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


def _figure(record: ComparisonRecord) -> Figure:
    figure = new_figure()
    axes = figure.subplots()
    for method in record.methods:
        point = (method.scores.safety_score or 0, method.scores.compliance_rate or 0)
        colour, form = {"default": (GREY, "s"), "prosafeprune": (ORANGE, "*")}.get(method.name, (BLUE, "o"))
        axes.plot(*point, form, color=colour)
        axes.annotate(method.name, point, xytext=(4, 4), textcoords="offset points", fontsize=9)
    axes.set_xlabel("Avg. S.S., %")
    axes.set_ylabel("Avg. C.R., %")
    axes.margins(0.2)
    return figure


def _repeating(record: ComparisonRecord) -> list[Block]:
    facts = depends_on(str(record.made_by["model"]), {**record.prompts, **record.calibration}, record.versions)
    learned = [f"{one.name} learned what has the SHA-256 {one.learned_sha256}" for one in record.methods]
    made = [item for item, one in zip(learned, record.methods, strict=True) if one.learned_sha256]
    told = Paragraph("Times differ from run to run and from machine to machine; all else does not, on one machine.")
    return [command("compare", record.request, "OUTPUT"), told, facts, *([Points(made)] if made else [])]


def _model(record: ComparisonRecord) -> str:
    return Path(record.request.model).name or record.request.model
