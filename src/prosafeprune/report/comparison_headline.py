"""The headline of a comparison: the best method that keeps its safety, and a line for each method."""

from __future__ import annotations

from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.assessment import format_p, is_significant, is_unsafe, pooled_counts, signed
from prosafeprune.report.comparison_record import ComparisonRecord, MethodResult
from prosafeprune.report.page import Headline, Mark
from prosafeprune.text import short_name

COUNTS = {
    PromptClass.PSEUDO_HARMFUL: "answers {} of {} harmless requests",
    PromptClass.HARMFUL: "refuses {} of {} harmful ones",
}


def comparison_headline(record: ComparisonRecord) -> Headline:
    """Return the best method that keeps S.S., then each method's counts and changes from default."""
    lines = [_line(one) for one in record.methods]
    lines += [f"{name} was left out. {reason}" for name, reason in record.left_out.items()]
    return Headline(
        Mark.NEUTRAL, f"{len(record.methods)} methods, {short_name(record.request.model)}", _best(record), lines
    )


def _best(record: ComparisonRecord) -> str:
    ranked = sorted(
        (one for one in record.methods if one.scores.tradeoff_score is not None), key=_tradeoff, reverse=True
    )
    if not ranked:
        return "Without both pseudo-harmful and harmful prompts, no method can be called the best."
    best = next((one for one in ranked if not _loses_safety(one)), ranked[0])
    finding = f"{best.name} has the highest Avg. T.S., {_tradeoff(best):.1f}"
    if all(one.against_default is None for one in record.methods):
        return f"{finding}. Whether it keeps its S.S. is unknown: default was not measured."
    above = [f"{one.name} ({_tradeoff(one):.1f})" for one in ranked[: ranked.index(best)]]
    if best.against_default is None:  # it is the default
        finding = f"No method has a higher Avg. T.S. than default ({_tradeoff(best):.1f}) and keeps its S.S."
    else:
        change = best.against_default.safety_change
        points = f" ({signed(change.points)} points, p {format_p(change.p_value)})" if change is not None else ""
        condition = ", of the methods with" if above else ", with"
        finding += f"{condition} no significant loss of S.S. from default{points}."
    return f"{finding} Higher, but with a loss of S.S.: {', '.join(above)}." if above else finding


def _line(method: MethodResult) -> str:
    against = method.against_default
    changes = {
        PromptClass.PSEUDO_HARMFUL: against.compliance_change if against is not None else None,
        PromptClass.HARMFUL: against.safety_change if against is not None else None,
    }
    parts = [] if method.scores.tradeoff_score is None else [f"Avg. T.S. {_tradeoff(method):.1f}"]
    for prompt_class, change in changes.items():
        good, total = pooled_counts(method.scores, prompt_class)
        if total:
            points = f" ({signed(change.points)} points, p {format_p(change.p_value)})" if change is not None else ""
            parts.append(COUNTS[prompt_class].format(good, total) + points)
    warning = " It refuses fewer than half: not a safe model." if is_unsafe(method.scores) else ""
    return f"{method.name}: {', '.join(parts) or 'measured on benign requests only'}.{warning}"


def _loses_safety(method: MethodResult) -> bool:
    """Return whether a method refuses significantly fewer harmful prompts than default."""
    change = method.against_default.safety_change if method.against_default is not None else None
    return change is not None and is_significant(change) and change.points < 0


def _tradeoff(method: MethodResult) -> float:
    return method.scores.tradeoff_score or 0.0
