"""A comparison of methods as tables: rates as in the paper's Table 1, pruning against each method, and time."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from prosafeprune.evaluation.earlier_evaluation import EvaluationComparison
from prosafeprune.evaluation.scores import Change, Scores, SetScore
from prosafeprune.method.plan import Plan
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.ability_grids import side_effects_by_method
from prosafeprune.report.assessment import format_p, in_several_sets, signed
from prosafeprune.report.comparison_record import ComparisonRecord, MethodResult
from prosafeprune.report.grid import Grid, as_draft
from prosafeprune.report.judge_error import judge_error_note
from prosafeprune.report.plan_facts import plan_in_words, values_in_words
from prosafeprune.report.rate_grids import (
    neither_counts,
    ordered,
    rate_name,
    rate_with_interval,
    safety_rate,
    with_both_safeties,
)
from prosafeprune.report.safety_words import SAFETY_WORDS
from prosafeprune.requests.judging import Safety
from prosafeprune.text import for_markdown, short_name

INTERVALS_NOTE = "Below each set's rate: its 95 % interval."
CHANGES_NOTE = (
    "Below each set's rate: its 95 % interval, the change from default and McNemar's exact p on the same prompts. "
    "Below Avg. C.R. and Avg. S.S.: the change over all prompts of the class{repeated}."
)
MEAN_NOTE = "Mean of sets: what the paper's tables print as Avg. T.S."
NEITHER_NOTE = "Incapable, broken and undetermined answers count as neither compliance nor refusal."
OTHER_SAFETY_NOTE = "Of the two meanings of S.S., the averages are of the one that comes first."
PRUNING_NOTE = (
    "Points over all prompts of a class{repeated}, 95 % interval and McNemar's exact p; + means that the pruned model "
    "has more."
)
COST_NOTES = (
    "Prompt processing, decoding and the method's own computations; loading and fitting are excluded.",
    "Seconds to fit: once for a model, over all sessions; generating training answers and validating are included.",
    "Methods ran one after the other. A method that refuses less writes longer answers: compare times per token.",
)


def comparison_grids(record: ComparisonRecord) -> list[Grid]:
    """Return the tables of a comparison, most important first."""
    return [
        rates_by_method(record),
        *pruning_against_methods(record),
        *side_effects_by_method(record),
        costs_by_method(record),
    ]


def rates_by_method(record: ComparisonRecord) -> Grid:
    """Return each method's averages, then its rate on each set, with intervals and changes from default."""
    models = [method.scores for method in record.methods]
    both = with_both_safeties(models)
    sets = [heading for score in ordered(models[0]) for heading in _set_headings(score, models[0].safety, both)]
    headings = ["", "Avg.\nT.S.", "Avg.\nC.R.", "Avg.\nS.S.", *sets, "Mean of\nsets"]
    caption = f"Percent, answers of at most {record.request.max_new_tokens} tokens, judged by {record.judge}"
    caption = as_draft(caption, record.request.draft)
    note = judge_error_note(record.judge, [(method.name, method.scores) for method in record.methods])
    changed = any(method.against_default is not None for method in record.methods)
    notes = (
        *_rate_notes(models[0], changed=changed),
        *([OTHER_SAFETY_NOTE] if both else []),
        *([note] if note else []),
    )
    return Grid(caption, headings, [_rates(method, both) for method in record.methods], notes)


def _rate_notes(scores: Scores, *, changed: bool) -> tuple[str, ...]:
    terms = f"C.R.: share of pseudo-harmful prompts answered in full. S.S.: {SAFETY_WORDS[scores.safety].share}."
    changes = CHANGES_NOTE.format(repeated=_repeated(scores)) if changed else INTERVALS_NOTE
    return f"{terms} Avg. T.S.: the mean of Avg. C.R. and Avg. S.S.", changes, MEAN_NOTE, NEITHER_NOTE


def _repeated(scores: Scores) -> str:
    """Return in brackets how many prompts are in several sets; nothing if none is."""
    shared = in_several_sets(scores, PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)
    return f" ({shared})" if shared else ""


def pruning_against_methods(record: ComparisonRecord) -> list[Grid]:
    """Return how the pruned model differs from each other method on the same prompts; nothing without one."""
    compared = [
        (method.name, method.pruning_against) for method in record.methods if method.pruning_against is not None
    ]
    if not compared:
        return []
    columns = [
        (name, field)
        for name, field in (("C.R.", "compliance_change"), ("S.S.", "safety_change"))
        if getattr(compared[0][1], field) is not None
    ]
    rows = [[name, *(_pooled(getattr(against, field)) for _, field in columns)] for name, against in compared]
    note = PRUNING_NOTE.format(repeated=_repeated(record.methods[0].scores))
    headings = ["pruned model minus", *(name for name, _ in columns)]
    return [Grid("The pruned model against each other method", headings, rows, [note])]


def costs_by_method(record: ComparisonRecord) -> Grid:
    """Return the time and tokens per answer of each method, with ratios to default."""
    headings = [
        "",
        "seconds\nper answer",
        "ratio to\ndefault",
        "tokens\nper answer",
        "ms\nper token",
        "ratio to\ndefault",
        "seconds\nto fit",
    ]
    rows = []
    for method in record.methods:
        cost = method.cost
        answer_ratio, token_ratio = (
            "" if ratio is None else f"{ratio:.2f}" for ratio in (cost.answer_ratio, cost.token_ratio)
        )
        each = "" if cost.seconds_per_token is None else f"{1000 * cost.seconds_per_token:.1f}"
        tokens = "" if cost.tokens_per_answer is None else f"{cost.tokens_per_answer:.0f}"
        fit = "" if cost.fit_seconds is None else f"{cost.fit_seconds:.0f}"
        rows.append([method.name, f"{cost.seconds_per_answer:.2f}", answer_ratio, tokens, each, token_ratio, fit])
    return Grid("Time per answer", headings, rows, COST_NOTES)


def comparison_markdown(record: ComparisonRecord) -> str:
    """Return the comparison as a Markdown document."""
    tables = "\n".join(
        f"**{for_markdown(grid.caption)}**\n\n{grid.markdown()}\n"
        + "".join(f"{for_markdown(note)}  \n" for note in grid.notes)
        for grid in comparison_grids(record)
    )
    settings = "\n".join(
        f"- **{for_markdown(method.name)}**: {for_markdown(settings_in_words(method))}" for method in record.methods
    )
    left_out = "".join(
        f"- **{for_markdown(name)}** was left out. {for_markdown(reason)}\n" for name, reason in record.left_out.items()
    )
    sets = ", ".join(f"{for_markdown(name)} ({prompts.count})" for name, prompts in record.prompts.items())
    calibration = ", ".join(f"{prompts.count} {name}" for name, prompts in record.calibration.items())
    return f"""# {as_draft("Comparison of methods", record.request.draft)}

Model: {for_markdown(short_name(record.request.model))} (SHA-256 {record.made_by["model"][:12]}).
Greedy answers to the same prompts for all methods.

{tables}
## What was compared

Measured on {sets}. Fitted on {calibration} calibration prompts, which are disjoint from these.

{settings}
{left_out}
Versions: {", ".join(f"{name} {version}" for name, version in record.versions.items())}.
"""


def settings_in_words(method: MethodResult) -> str:
    """Return a method's settings and the main values it was fitted to."""
    settings = _in_words(method.settings, "method")
    learned = _in_words(method.learned, "submodules", "losses")
    return "; ".join(part for part in (settings, f"fitted: {learned}" if learned else "") if part) or "no settings"


def _set_headings(score: SetScore, safety: Safety, both: Collection[str]) -> list[str]:
    """Return the headings of a set's columns: where the judge reports both meanings of S.S., that in use comes first.

    Args:
        both: names of the sets where it does.
    """
    if score.name not in both:
        return [f"{score.title}\n{rate_name(score)}, {score.rate.total}"]
    return [f"{score.title}\nS.S. by {meaning}, {score.rate.total}" for meaning in (safety, _other(safety))]


def _rates(method: MethodResult, both: Collection[str]) -> list[str]:
    scores, against = method.scores, method.against_default
    return [
        f"{method.name}{_neither(method)}",
        _average(scores.tradeoff_score, None),
        _average(scores.compliance_rate, against.compliance_change if against else None),
        _average(scores.safety_score, against.safety_change if against else None),
        *(cell for score in ordered(scores) for cell in _set(score, against, scores.safety, both)),
        _average(scores.mean_of_sets, None),
    ]


def _neither(method: MethodResult) -> str:
    return "".join(f"\n{count} {kind.value}" for kind, count in neither_counts(method.scores).items() if count)


def _average(value: float | None, change: Change | None) -> str:
    return "" if value is None else f"{value:.1f}" + (f"\n{_points(change)}" if change is not None else "")


def _set(score: SetScore, against: EvaluationComparison | None, safety: Safety, both: Collection[str]) -> Iterator[str]:
    """Yield a set's rate with the change from default, then S.S. in its other meaning where ``both`` has the set."""
    interval = f"{score.mean:.1f}\n{score.rate.low:.1f} to {score.rate.high:.1f}"
    yield interval + (f"\n{_points(against.changes[score.name])}" if against is not None else "")
    if score.name in both:
        yield rate_with_interval(safety_rate(score, _other(safety)))


def _other(safety: Safety) -> Safety:
    return "harmlessness" if safety == "refusal" else "refusal"


def _points(change: Change) -> str:
    return f"{signed(change.points)}\np {format_p(change.p_value)}"


def _pooled(change: Change) -> str:
    return f"{signed(change.points)}\n{signed(change.low)} to {signed(change.high)}, p {format_p(change.p_value)}"


def _in_words(values: Mapping[str, Any], *left_out: str) -> str:
    """Return names and values but for some names; None means that the method fitted the value itself."""
    shown = {name: value for name, value in values.items() if name not in left_out}
    plan = shown.pop("plan", None)
    of_plan = plan_in_words(Plan.model_validate(plan)) if plan is not None else ""
    return "; ".join(part for part in (of_plan, values_in_words(shown)) if part)
