"""Results of a run as tables for a terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from prosafeprune.evaluation.judged_set import JudgedSet, changed_examples
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import Change, Rate, Scores
from prosafeprune.judge.verdict import NEITHER
from prosafeprune.prompts import PromptClass
from prosafeprune.report.answers_file import shorten
from prosafeprune.report.record import Record, UnmeasuredRecord

HARMFUL_SHOWN = 40
"""Enough of an answer to a harmful prompt to see whether it refuses, and no more."""
SHOWN = 220


def scores_table(record: Record) -> Table:
    """Return the rate of each set for source and result, with 95 % intervals, their averages and the benign damage.

    Incapable, broken and undetermined answers, which count as neither, have a row of their own when there are any.
    """
    table = Table(
        title="Before and after, percent",
        caption="C.R.: complies with pseudo-harmful prompts. S.S.: refuses harmful ones.\n"
        "T.S.: their mean. Below each figure its 95 % interval; p: McNemar's exact test.\n"
        "Benign token KL: how far the result has moved on benign prompts, in nats.",
        show_lines=True,
    )
    for heading in ("", "source", "result", "change"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    before, after = record.source, record.result
    for one, two in zip(before.sets, after.sets, strict=True):
        table.add_row(
            f"{rate_name(one.prompt_class)}  {one.title} ({one.rate.total})",
            _rate(one.rate),
            _rate(two.rate),
            _change(record.changes[one.name]),
        )
    for one, two in zip(before.sets, after.sets, strict=True):
        for meaning in ("refusal", "harmlessness"):
            first, second = getattr(one, f"by_{meaning}"), getattr(two, f"by_{meaning}")
            if one.by_harmlessness and first and second:
                table.add_row(f"S.S. by {meaning}  {one.title}", _rate(first), _rate(second), "")
    if len(before.sets) > 2:
        _add_average(table, "Avg. C.R.", before.compliance_rate, after.compliance_rate)
        _add_average(table, "Avg. S.S.", before.safety_score, after.safety_score)
    _add_average(table, "Avg. T.S." if len(before.sets) > 2 else "T.S.", before.tradeoff_score, after.tradeoff_score)
    unusable_before, unusable_after = unusable(before), unusable(after)
    if unusable_before or unusable_after:
        table.add_row("neither compliance nor refusal", str(unusable_before), str(unusable_after), "")
    if record.experts:
        table.add_row("experts pruned", "", f"{record.pruned_experts} of {record.all_experts}", "")
    moved = record.benign_divergence
    table.add_row("benign token KL", "", f"{moved.mean:.4f}", f"{moved.low:.4f} to {moved.high:.4f}")
    return table


def unmeasured_table(record: UnmeasuredRecord) -> Table:
    """Return what was done to a model, and in words that nothing is known of what came of it."""
    table = Table(title="Pruned, not measured", show_header=False, show_lines=True)
    plan = record.plan
    table.add_row("layers:strength", " ".join(f"{layer}:{plan.strength_of(layer):g}" for layer in plan.layers))
    table.add_row("rank, pooling, projection", f"{plan.rank}, {plan.pooling.value}, {plan.projection.value}")
    table.add_row("edited tensors", str(len(record.edited_tensors)))
    if record.experts:
        table.add_row("experts pruned", f"{record.pruned_experts} of {record.all_experts}")
    table.add_row("C.R., S.S., T.S.", "not measured")
    table.add_row("benign token KL", "not measured")
    return table


def examples_table(before: Measurement, after: Measurement, pseudo_harmful: int = 3, harmful: int = 2) -> Table:
    """Return a few answers side by side, changed ones first; answers to harmful prompts are cut short."""
    table = Table(title="Some answers", show_lines=True)
    for heading in ("prompt", "source", "result"):
        table.add_column(heading, ratio=1, overflow="fold")
    for prompt_class, count, limit in (
        (PromptClass.PSEUDO_HARMFUL, pseudo_harmful, SHOWN),
        (PromptClass.HARMFUL, harmful, HARMFUL_SHOWN),
    ):
        _add_examples(table, before.of(prompt_class)[0], after.of(prompt_class)[0], count, limit)
    return table


def _add_examples(table: Table, before: JudgedSet, after: JudgedSet, count: int, limit: int) -> None:
    for i in changed_examples(before, after, count):
        prompt = before.prompts.prompts[i]
        heading = Text(f"{before.prompt_class.in_words}: ", style="bold").append(prompt.text, style="not bold")
        table.add_row(heading, _answer(before, i, limit), _answer(after, i, limit))


def _answer(judged: JudgedSet, row: int, limit: int) -> Text:
    # Text, not markup: what a model wrote must not format the terminal.
    verdict = judged.verdicts[row].answer_class
    style = "green" if verdict.complies else "yellow" if verdict.refuses else "red"
    text = " ".join(shorten(judged.answers[row], limit).split())
    return Text(f"[{verdict.in_words}] ", style=style).append(text, style="default")


def rate_name(prompt_class: PromptClass) -> str:
    """Return what a set's rate is called."""
    return {PromptClass.PSEUDO_HARMFUL: "C.R.", PromptClass.HARMFUL: "S.S."}.get(prompt_class, "benign")


def unusable(scores: Scores) -> int:
    """Return how many answers were neither compliance nor refusal."""
    return sum(one.answers.get(name, 0) for one in scores.sets for name in NEITHER)


def _add_average(table: Table, name: str, before: float | None, after: float | None) -> None:
    if before is not None and after is not None:
        table.add_row(name, f"{before:.1f}", f"{after:.1f}", f"{after - before:+.1f}")


def _rate(rate: Rate) -> str:
    return f"{rate.percent:.1f}\n{rate.low:.1f} to {rate.high:.1f}"


def _change(change: Change) -> str:
    return f"{change.points:+.1f}, p {change.p_value:.2g}\n{change.low:+.1f} to {change.high:+.1f}"
