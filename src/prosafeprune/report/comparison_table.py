"""A comparison of methods as a table like the paper's Table 1, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group

from prosafeprune.evaluation.earlier import EvaluationComparison
from prosafeprune.method.plan import Plan
from prosafeprune.report.comparison_record import ComparisonRecord, MethodResult
from prosafeprune.report.evaluation_table import ordered, rates, set_headings
from prosafeprune.report.grid import Grid
from prosafeprune.search.optuna_study import describe_plan

MEANINGS = """C.R.: fully complies with pseudo-harmful prompts. S.S.: refuses harmful ones.
Avg. T.S.: the mean of Avg. C.R. and Avg. S.S. Mean of sets: what the paper's tables print under Avg. T.S.
Broken and undetermined answers count as neither. p: McNemar's exact test against default, on the same prompts.
pruning less it: what the pruned model has more (+) or less (-) than this method, and McNemar's p of that.
Seconds: answering alone, without loading the model or fitting the method; per answer, and per token of it."""


def comparison_grid(record: ComparisonRecord) -> Grid:
    """Return for each method its rates with intervals, how they changed, and what answering took."""
    headings = set_headings(record.methods[0].scores)
    headings += [
        "Mean of\nsets",
        "Seconds per\nanswer",
        "to\ndefault",
        "Tokens per\nanswer",
        "Seconds per\ntoken, ratio",
    ]
    rows: list[tuple[str, list[str]]] = []
    for method in record.methods:
        rows += _rows(method)
    return Grid.padded(headings, rows)


def comparison_table(record: ComparisonRecord, width: int) -> Group:
    """Return the grid as a table for a terminal."""
    title = f"Percent, answers of at most {record.request.max_new_tokens} tokens, judged by {record.judge}"
    return comparison_grid(record).table(title, MEANINGS, width)


def comparison_markdown(record: ComparisonRecord) -> str:
    """Return the comparison as a page of Markdown."""
    settings = "\n".join(f"- **{one.name}**: {settings_in_words(one)}" for one in record.methods)
    left_out = "".join(f"- **{name}** was left out. {reason}\n" for name, reason in record.left_out.items())
    sets = ", ".join(f"{name} ({one.count})" for name, one in record.prompts.items())
    learned = ", ".join(f"{one.count} {name}" for name, one in record.calibration.items())
    return f"""# Ways of answering, compared

Model: {record.request.model} (sha256 {record.made_by["model"][:12]}). Answers of at most
{record.request.max_new_tokens} tokens, greedy, the same prompts for all, judged by {record.judge}. Percent.

{comparison_grid(record).markdown()}
{_paragraphs(MEANINGS)}

## What was compared

Measured on {sets}. Learned from {learned} calibration prompts, none of which is measured on.

{settings}
{left_out}
Versions: {", ".join(f"{name} {version}" for name, version in record.versions.items())}.
"""


def _rows(method: MethodResult) -> list[tuple[str, list[str]]]:
    sets = ordered(method.scores)
    cost, mean = method.cost, method.scores.mean_of_sets
    costs = [
        "" if mean is None else f"{mean:.1f}",
        f"{cost.seconds_per_answer:.2f}",
        _ratio(cost.answer_ratio),
        "" if cost.tokens_per_answer is None else f"{cost.tokens_per_answer:.0f}",
        _ratio(cost.token_ratio),
    ]
    rows = [
        (method.name, rates(method.scores) + costs),
        ("  95 % interval", [f"{one.rate.low:.1f}-{one.rate.high:.1f}" for one in sets]),
    ]
    names = [one.name for one in sets]
    for title, compared in (("  change", method.against_default), ("  pruning less it", method.pruning_against)):
        rows += [] if compared is None else _changes(title, compared, names)
    for kind in ("broken", "undetermined"):
        counts = [one.answers.get(kind, 0) for one in sets]
        if any(counts):
            rows.append((f"  {kind}, answers", [str(count or "") for count in counts]))
    return rows


def _changes(title: str, compared: EvaluationComparison, names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return the changes on each set and of all prompts of a class, and below them their p-values."""
    changes = [compared.changes[name] for name in names] + [compared.compliance_change, compared.safety_change]
    points = ["" if one is None else f"{one.points:+.1f}" for one in changes]
    p_values = ["" if one is None else f"{one.p_value:.2g}" for one in changes]
    return [(title, points), ("  p", p_values)]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def settings_in_words(method: MethodResult) -> str:
    """Return a method's settings, and what is worth telling of what it learned."""
    settings = _in_words(method.settings, "method")
    learned = _in_words(method.learned, "submodules")
    return "; ".join(part for part in (settings, f"learned: {learned}" if learned else "") if part) or "no settings"


def _in_words(values: Mapping[str, Any], left_out: str) -> str:
    """Return names and values but for one; what is None was left to the method, whose choice it has learned."""
    told = [
        describe_plan(Plan.model_validate(value)) if name == "plan" else f"{name.replace('_', ' ')} {_value(value)}"
        for name, value in values.items()
        if name != left_out and value is not None
    ]
    return "; ".join(told)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', '-')} {_value(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, str):
        return f"“{value}”" if " " in value else value
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _paragraphs(text: str) -> str:
    return "\n".join(f"{line}  " for line in text.split("\n"))
