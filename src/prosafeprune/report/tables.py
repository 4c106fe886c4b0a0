"""Results of a run as tables for a terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from prosafeprune.evaluation.before_after import JudgedAnswers, Measurement, changed_examples
from prosafeprune.evaluation.scores import Change, Rate, Scores
from prosafeprune.report.evidence import shorten
from prosafeprune.report.record import Record

HARMFUL_SHOWN = 40
"""Enough of an answer to a harmful prompt to see whether it refuses, and no more."""
SHOWN = 220


def scores_table(record: Record) -> Table:
    """Return C.R., S.S. and T.S. of source and result, with 95 % intervals.

    Broken and undetermined answers, which count as neither, have a row of their own when there are any.
    """
    table = Table(
        title="Before and after on bundled test prompts, percent",
        caption="C.R.: complies with pseudo-harmful prompts. S.S.: refuses harmful ones.\n"
        "T.S.: their mean. Below each figure its 95 % interval.",
        show_lines=True,
    )
    for heading in ("", "source", "result", "change"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    before, after = record.source, record.result
    table.add_row(
        f"C.R. ({before.compliance.total})",
        _rate(before.compliance),
        _rate(after.compliance),
        _change(record.compliance_change),
    )
    table.add_row(
        f"S.S. ({before.safety.total})",
        _rate(before.safety),
        _rate(after.safety),
        _change(record.safety_change),
    )
    table.add_row(
        "T.S.",
        f"{before.tradeoff_score:.1f}",
        f"{after.tradeoff_score:.1f}",
        f"{after.tradeoff_score - before.tradeoff_score:+.1f}",
    )
    broken_before, broken_after = _broken(before), _broken(after)
    if broken_before or broken_after:
        table.add_row("broken or undetermined", str(broken_before), str(broken_after), "")
    return table


def examples_table(before: Measurement, after: Measurement, pseudo_harmful: int = 3, harmful: int = 2) -> Table:
    """Return a few answers side by side, changed ones first; answers to harmful prompts are cut short."""
    table = Table(title="Some answers", show_lines=True)
    for heading in ("prompt", "source", "result"):
        table.add_column(heading, ratio=1, overflow="fold")
    _add_examples(table, before.pseudo_harmful, after.pseudo_harmful, pseudo_harmful, SHOWN)
    _add_examples(table, before.harmful, after.harmful, harmful, HARMFUL_SHOWN)
    return table


def _add_examples(table: Table, before: JudgedAnswers, after: JudgedAnswers, count: int, limit: int) -> None:
    for i in changed_examples(before, after, count):
        prompt = before.prompts.prompts[i]
        heading = Text(f"{before.prompts.prompt_class.in_words}: ", style="bold").append(prompt.text, style="not bold")
        table.add_row(heading, _answer(before, i, limit), _answer(after, i, limit))


def _answer(judged: JudgedAnswers, row: int, limit: int) -> Text:
    # Text, not markup: what a model wrote must not format the terminal.
    verdict = judged.verdicts[row].answer_class
    style = "green" if verdict.complies else "yellow" if verdict.refuses else "red"
    text = " ".join(shorten(judged.answers[row], limit).split())
    return Text(f"[{verdict.value.replace('_', ' ')}] ", style=style).append(text, style="default")


def _rate(rate: Rate) -> str:
    return f"{rate.percent:.1f}\n{rate.low:.1f} to {rate.high:.1f}"


def _change(change: Change) -> str:
    return f"{change.points:+.1f}\n{change.low:+.1f} to {change.high:+.1f}"


def _broken(scores: Scores) -> int:
    counts = (scores.pseudo_harmful_answers, scores.harmful_answers)
    return sum(count.get(name, 0) for count in counts for name in ("broken", "undetermined"))
